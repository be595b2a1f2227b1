"""Models of this package and of mmdet with the same weights, and random batches for them."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_setdet.config_names import config_folder
from mmdet_setdet.engine.models import build_model

from .options import Options

MMDET_CONFIGS = {
    'detr_r50_150e': 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'dab_detr_r50_50e': 'mmdet::dab_detr/dab-detr_r50_8xb2-50e_coco.py',
    'deformable_detr_r50_50e': 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'dino_r50_4scale_12e': 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
}
# The authors' code counts COCO's ids up to 90 as classes; with as many everywhere, all sides take the same weights.
NUM_CLASSES = 91


@torch.no_grad()
def perturb_weights(model: nn.Module, seed: int = 0, box_gain: float = 1.0) -> nn.Module:
    """Add noise in place to the weights that start at zero or one, so that every branch contributes to the outputs.

    Args:
        model (nn.Module): The model; it is also returned.
        seed (int): Seed of the noise.
        box_gain (float): Factor of the weights of DETR's last box layer, whose boxes are nearly all alike otherwise.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator) * 0.1
        is_zero = not tensor.any()
        if name.endswith('running_var'):
            tensor.add_(noise.abs())
        elif tensor.dim() == 1 and is_zero and name.endswith('weight'):
            # mmdet starts the last norm of a residual branch at zero, which would silence the branch.
            tensor.add_(noise + 0.3)
        elif tensor.dim() == 1:
            tensor.add_(noise)
        elif tensor.dim() == 2 and is_zero:
            tensor.copy_(noise)
        if name.endswith('fc_reg.weight'):
            tensor.mul_(box_gain)
    return model


def mmdet_model(config: str, options: Options, changes: dict | None = None) -> nn.Module:
    """Build mmdet's counterpart of one of our configs, with random weights and ``changes`` of its model."""
    cfg = _merged(get_config(MMDET_CONFIGS[config]), {**options.model, **(changes or {})})
    model = build_model(cfg.model, seed=options.seed)
    perturb_weights(model, options.seed)
    return model.to(options.device)


def our_model(config: str, options: Options, weights: dict[str, Tensor], **changes) -> nn.Module:
    """Build our model with mmdet's weights; weights that mmdet's model does not have (denoising) are random.

    Args:
        config (str): Name of a file in configs/.
        options (Options): The options of the run.
        weights (dict[str, Tensor]): State dict of the corresponding :func:`mmdet_model`.
        **changes: Changes of the model's config, with ``__`` for a dot.

    Raises:
        RuntimeError: The weights do not fit.
    """
    torch.manual_seed(options.seed)
    changes = {key.replace('__', '.'): value for key, value in changes.items()}
    model = MODELS.build(our_config(config, {**options.model, **changes}).model)
    denoising = {
        key: value for key, value in model.state_dict().items() if key.startswith('denoising.')
    }
    model.load_state_dict({**denoising, **weights})
    return model.to(options.device)


def our_config(config: str, changes: dict) -> Config:
    """Read one of our configs without pretrained weights and with ``changes`` of its model."""
    return _merged(Config.fromfile(config_folder() / f'{config}.py'), changes)


def _merged(cfg: Config, changes: dict) -> Config:
    changes = {'backbone.init_cfg': None, 'bbox_head.num_classes': NUM_CLASSES, **changes}
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg


def random_batch(
    options: Options, size: tuple[int, int], counts: Sequence[int]
) -> tuple[Tensor, list[DetDataSample]]:
    """Draw images of noise with random ground truths.

    Args:
        options (Options): Seed and device.
        size (tuple[int, int]): Height and width of the images.
        counts (Sequence[int]): Number of ground truths per image.

    Returns:
        tuple[Tensor, list[DetDataSample]]: Normalised images (B, 3, H, W) and their samples.
    """
    generator = torch.Generator().manual_seed(options.seed)
    height, width = size
    inputs = torch.randn(len(counts), 3, height, width, generator=generator)
    samples = []
    for index, count in enumerate(counts):
        boxes = random_boxes(generator, count)
        gt_instances = InstanceData(
            bboxes=bbox_cxcywh_to_xyxy(boxes) * torch.tensor([width, height, width, height]),
            labels=torch.randint(NUM_CLASSES - 1, (count,), generator=generator),
        )
        metainfo = dict(
            img_path=f'{index}.jpg',
            img_shape=size,
            ori_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
        sample = DetDataSample(metainfo=metainfo, gt_instances=gt_instances)
        samples.append(sample.to(options.device))
    return inputs.to(options.device), samples


def random_boxes(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw boxes (cx, cy, w, h) within the image [0, 1]^2, (*shape, 4)."""
    sides = torch.rand(*shape, 2, generator=generator) * 0.4 + 0.02
    corners = torch.rand(*shape, 2, generator=generator) * (1 - sides)
    return torch.cat([corners + sides / 2, sides], -1)
