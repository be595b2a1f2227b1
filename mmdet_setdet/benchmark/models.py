"""Models of ours and of mmdet with the same weights, and batches to give them."""
import logging
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..config_names import config_folder
from .options import Options

MMDET_CONFIGS = {
    'detr_r50_150e': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'dab_detr_r50_50e': 'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py',
}
# The authors' code counts COCO's ids up to 90 as classes; with as many everywhere, all sides take the same weights.
NUM_CLASSES = 91


@torch.no_grad()
def wake(model: nn.Module, seed: int) -> None:
    """Moves what starts at zero or one, so that every branch has its part in the outputs that are compared."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator) * 0.1
        if name.endswith('running_var'):
            tensor.add_(noise.abs())
        elif tensor.dim() == 1:
            # mmdet starts the last norm of a residual branch at zero, which would silence the branch.
            tensor.add_(noise + (0.3 if name.endswith('weight') and not tensor.any() else 0.))
        elif tensor.dim() == 2 and not tensor.any():
            tensor.copy_(noise)


def mmdet_model(config: str, options: Options) -> nn.Module:
    """mmdet's model that stands against our config of that name, with random weights."""
    torch.manual_seed(options.seed)
    model = MODELS.build(_merged(get_config(MMDET_CONFIGS[config]), options.model).model)
    logging.disable(logging.INFO)  # mmengine would report every parameter
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    wake(model, options.seed)
    return model.to(options.device)


def our_model(config: str, options: Options, weights: dict[str, Tensor], **changes) -> nn.Module:
    """Our model with mmdet's weights; what mmdet's does not have (denoising) starts at random.

    Args:
        config (str): Name of a file in configs/.
        options (Options): What the benchmark was asked for.
        weights (dict[str, Tensor]): State dict of the corresponding :func:`mmdet_model`.
        **changes: Changes of the model's config, with ``__`` for a dot.

    Raises:
        RuntimeError: The weights do not fit.
    """
    torch.manual_seed(options.seed)
    changes = {key.replace('__', '.'): value for key, value in changes.items()}
    model = MODELS.build(our_config(config, {**options.model, **changes}).model)
    own = {key: value for key, value in model.state_dict().items() if key.startswith('denoising.')}
    model.load_state_dict({**own, **weights})
    return model.to(options.device)


def our_config(config: str, changes: dict) -> Config:
    """The config without pretrained weights and with ``changes`` of its model."""
    return _merged(Config.fromfile(config_folder() / f'{config}.py'), changes)


def _merged(cfg: Config, changes: dict) -> Config:
    changes = {'backbone.init_cfg': None, 'bbox_head.num_classes': NUM_CLASSES, **changes}
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg


def random_batch(options: Options, size: tuple[int, int], counts: Sequence[int]) -> tuple[Tensor, list[DetDataSample]]:
    """Normalised images of noise, one for each of ``counts``, (B, 3, H, W), with that many random objects."""
    generator = torch.Generator().manual_seed(options.seed)
    height, width = size
    inputs = torch.randn(len(counts), 3, height, width, generator=generator)
    samples = []
    for index, count in enumerate(counts):
        boxes = random_boxes(generator, count)
        samples.append(
            DetDataSample(
                metainfo=dict(
                    img_path=f'{index}.jpg', img_shape=size, ori_shape=size, batch_input_shape=size,
                    scale_factor=(1., 1.)),
                gt_instances=InstanceData(
                    bboxes=bbox_cxcywh_to_xyxy(boxes) * torch.tensor([width, height, width, height]),
                    labels=torch.randint(NUM_CLASSES - 1, (count, ), generator=generator))).to(options.device))
    return inputs.to(options.device), samples


def random_boxes(generator: torch.Generator, *shape: int) -> Tensor:
    """Boxes (cx, cy, w, h) within the image [0, 1]^2, (*shape, 4)."""
    sides = torch.rand(*shape, 2, generator=generator) * 0.4 + 0.02
    return torch.cat([sides / 2 + torch.rand(*shape, 2, generator=generator) * (1 - sides), sides], -1)
