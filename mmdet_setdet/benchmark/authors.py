"""The authors' code as a peer: plain checkouts under ``$SETDET_REF``, run unchanged.

It wants torchvision; install it with ``pip install --no-deps`` beside this project's environment, because a plain
install would replace torch. Without checkouts or torchvision these peers are left out.
"""
import importlib
import os
import sys
import types
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Optional
from unittest import mock

import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from ..checkpoints.key_maps import our_name
from ..models.ground_truths import GroundTruths
from .models import our_config
from .options import Options

FOLDERS = {'detr': 'facebookresearch+detr', 'dn-detr': 'IDEA-Research+DN-DETR'}
# Both code bases give their modules these names; DN-DETR's deformable parts, unused here, import a compiled operator.
OPERATOR = 'MultiScaleDeformableAttention'
OWN_MODULES = ('models', 'util', 'main', 'datasets', 'engine', OPERATOR)


def checkout(source: str) -> Path | None:
    """Where the authors' code lies, or None."""
    path = Path(os.environ.get('SETDET_REF', ''), FOLDERS[source])
    return path if 'SETDET_REF' in os.environ and (path / 'main.py').exists() else None


def detr(options: Options, weights: dict[str, Tensor]) -> Optional['Authors']:
    """The DETR of facebookresearch/detr with our weights, or None."""
    return Authors.load('detr', 'detr_r50_150e', options, weights)


def dn_detr(options: Options, weights: dict[str, Tensor]) -> Optional['Authors']:
    """The DAB part of IDEA-Research/DN-DETR, without noise, with our weights, or None."""
    return Authors.load('dn-detr', 'dn_detr_r50_50e', options, weights)


def dn_detr_matcher(options: Options):
    """The matcher of IDEA-Research/DN-DETR, or None."""
    others = Authors.load('dn-detr', 'dn_detr_r50_50e', options)
    return others and others.criterion.matcher


def targets_of(samples: list[DetDataSample]) -> list[dict[str, Tensor]]:
    """Objects as the authors' code takes them."""
    gts = GroundTruths.from_samples(samples)
    return [dict(labels=labels[:count], boxes=boxes[:count])
            for labels, boxes, count in zip(gts.labels, gts.boxes, gts.counts)]


class Authors:
    """A model of the authors with its criterion and post-processing.

    Args:
        source (str): 'detr' or 'dn-detr'.
        arguments (list[str]): Their command line.
        device (str): 'cpu' or 'cuda'.
    """

    def __init__(self, source: str, arguments: list[str], device: str) -> None:
        self.source, self.device = source, device
        with _importing(checkout(source)), self._on_device():
            main, models = importlib.import_module('main'), importlib.import_module('models')
            self.args = main.get_args_parser().parse_args(arguments)
            builder = models.build_DABDETR if source == 'dn-detr' else models.build_model
            self.model, self.criterion, post = builder(self.args)
            self.nested_tensor = importlib.import_module('util.misc').NestedTensor
        self.post_process = post['bbox']
        self.model.to(device)
        self.criterion.to(device)

    @classmethod
    def load(cls, source: str, config: str, options: Options, weights: dict | None = None) -> Optional['Authors']:
        """Their model as our config describes it, or None where it cannot be had."""
        if checkout(source) is None:
            return None
        cfg = our_config(config, options.model).model
        arguments = [
            '--coco_path', '-', '--device', options.device, '--num_queries', cfg.num_queries,
            '--backbone', f'resnet{cfg.backbone.depth}', '--enc_layers', cfg.encoder.num_layers,
            '--dec_layers', cfg.decoder.num_layers
        ]
        if source == 'dn-detr':
            arguments += ['-m', 'dn_dab_detr', '--use_dn', '--label_noise_scale', 0, '--box_noise_scale', 0]
        try:
            others = cls(source, [str(argument) for argument in arguments], options.device)
        except ImportError as error:
            warnings.warn(f'{checkout(source)} is left out: {error}', stacklevel=2)
            return None
        if weights is not None:
            named = {name: weights[our_name(source, name)] for name in others.model.state_dict()}
            others.model.load_state_dict(named)
        return others

    def __call__(self, inputs: Tensor, targets: list[dict] | None = None):
        """Their model's outputs for images without padding; in training with what denoising found."""
        images = self.nested_tensor(inputs, inputs.new_zeros(len(inputs), *inputs.shape[-2:], dtype=torch.bool))
        with self._on_device():
            if self.source == 'detr':
                return self.model(images)
            patterns = self.args.num_patterns
            if targets is None:
                return self.model(images, dn_args=patterns)[0]
            noise = self.args.scalar, self.args.label_noise_scale, self.args.box_noise_scale
            return self.model(images, dn_args=(targets, *noise, patterns))

    def loss(self, inputs: Tensor, samples: list[DetDataSample]) -> Tensor:
        """DN-DETR's total loss."""
        targets = targets_of(samples)
        outputs, known = self(inputs, targets)
        with self._on_device():
            losses = self.criterion(outputs, targets, known)
        weights = self.criterion.weight_dict
        return sum(losses[name] * weights[name] for name in losses if name in weights)

    def predict(self, inputs: Tensor, samples: list[DetDataSample]) -> list[dict[str, Tensor]]:
        """Boxes in pixels, scores and labels."""
        sizes = torch.tensor([sample.ori_shape for sample in samples], device=self.device)
        return self.post_process(self(inputs), sizes)

    def _on_device(self):
        """On a CPU: lets calls of ``.cuda()`` and ``.to('cuda')`` do nothing."""
        if self.device != 'cpu':
            return nullcontext()
        to = torch.Tensor.to
        return mock.patch.multiple(
            torch.Tensor, cuda=lambda tensor, *args, **kwargs: tensor,
            to=lambda tensor, *args, **kwargs: to(tensor, *('cpu' if a == 'cuda' else a for a in args), **kwargs))


@contextmanager
def _importing(path: Path):
    """Lets the authors' modules be imported from ``path``, and forgets their names again."""
    torchvision = _torchvision()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, 'path', [str(path), *sys.path]))
        stack.enter_context(_forgotten(OWN_MODULES))
        sys.modules[OPERATOR] = types.ModuleType(OPERATOR)
        for name in ('resnet18', 'resnet50', 'resnet101'):
            plain = getattr(torchvision.models, name)
            stack.enter_context(mock.patch.object(
                torchvision.models, name, lambda plain=plain, pretrained=None, **kwargs: plain(**kwargs)))
        yield


@contextmanager
def _forgotten(names):
    """Removes top-level modules of these names, and their submodules, from ``sys.modules`` before and after."""

    def forget() -> dict[str, types.ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] in names}

    before = forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(before)


def _torchvision():
    """torchvision, also one whose compiled operators do not fit this torch; the authors' models call none of them."""
    try:
        return importlib.import_module('torchvision')
    except RuntimeError:
        for operator in ('nms', 'qnms'):
            torch.library.define(f'torchvision::{operator}', '(Tensor boxes, Tensor scores, float threshold) -> Tensor')
        return importlib.import_module('torchvision')
