"""A training step and results of a small model of each family, on any device and in any precision, with what must hold.

The same functions run on the CPU, on a fake GPU (``tests/devices``) and on a real one (``tests/test_cuda.py``).
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from helpers.families import build_family, family_batch

PRECISIONS = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}
built_once = cache(build_family)


def family_model(family: str, device: str) -> nn.Module:
    """Return a model of its own on the device, in training mode; dropout is off, so that devices can be compared."""
    model = deepcopy(built_once(family))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train().to(device)


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context of a precision."""
    dtype = PRECISIONS[precision]
    kind = torch.device(device).type
    if dtype == torch.float32:
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, dtype=dtype)


@dataclass
class Step:
    """What a training step leaves.

    Attributes:
        losses (dict[str, Tensor]): Losses by name.
        gradients (dict[str, Tensor | None]): Gradients of the trained parameters by name.
    """

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor | None]


def training_step(model: nn.Module, data: dict, device: str, precision: str = 'float32') -> Step:
    """Compute losses and gradients of a batch that has been preprocessed, with random numbers from a seed."""
    torch.manual_seed(1)
    with autocast(device, precision):
        losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return Step(losses, gradients)


def training_data(model: nn.Module, family: str) -> dict:
    """Return the batch of a family as the model's preprocessor hands it on, on the device of the model."""
    torch.manual_seed(1)
    np.random.seed(1)
    return model.data_preprocessor(family_batch(family), True)


def check_step(step: Step, device: str) -> None:
    """Check that losses and gradients are finite, in float32 and on the device."""
    assert set(step.losses) >= {'loss'} or 'loss_cls' in step.losses
    for name, tensor in [*step.losses.items(), *step.gradients.items()]:
        assert tensor is not None, f'{name} has no gradient'
        assert tensor.device.type == torch.device(device).type, name
        assert tensor.dtype == torch.float32, name
        assert tensor.isfinite().all(), name


@torch.no_grad()
def results(model: nn.Module, family: str, device: str, precision: str = 'float32') -> list:
    """Return the data samples with the results of the family's batch."""
    model.eval()
    data = model.data_preprocessor(family_batch(family), False)
    with autocast(device, precision):
        return model(**data, mode='predict')


def check_results(samples: list, device: str) -> None:
    """Check that results are finite, in float32 and, but for the classifier's, on the device."""
    for sample in samples:
        if 'pred_scores' in sample:
            assert sample.pred_scores.isfinite().all()
            continue
        instances = sample.pred_instances
        assert len(instances) > 0
        assert instances.bboxes.device.type == torch.device(device).type
        assert instances.bboxes.dtype == instances.scores.dtype == torch.float32
        assert instances.bboxes.isfinite().all()
