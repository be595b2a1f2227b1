"""DETR of Hugging Face's transformers, where it is installed."""

import re
import warnings
from importlib.util import find_spec

from torch import Tensor, nn

from mmdet_setdet.checkpoints.key_maps import our_name

from ..models import NUM_CLASSES, our_config
from ..options import Options

# depth of the ResNet: its type of block, blocks per stage, channels per stage
RESNETS = {
    18: ('basic', [2, 2, 2, 2], [64, 128, 256, 512]),
    50: ('bottleneck', [3, 4, 6, 3], [256, 512, 1024, 2048]),
}


def build_detr(options: Options, weights: dict[str, Tensor]) -> nn.Module | None:
    """Build their DETR as our config describes it, with our weights; None if transformers is not installed."""
    try:
        from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision for another torch
        if find_spec('transformers') is not None:
            warnings.warn(f'transformers is left out: {error}', stacklevel=2)
        return None
    cfg = our_config('detr_r50_150e', options.model).model
    layer_type, depths, channels = RESNETS[cfg.backbone.depth]
    backbone = ResNetConfig(
        layer_type=layer_type, depths=depths, hidden_sizes=channels, out_features=['stage4']
    )
    model = DetrForObjectDetection(
        DetrConfig(
            backbone_config=backbone,
            use_timm_backbone=False,
            num_queries=cfg.num_queries,
            encoder_layers=cfg.encoder.num_layers,
            decoder_layers=cfg.decoder.num_layers,
            num_labels=NUM_CLASSES,
        )
    )
    names = [name for name in model.state_dict() if 'num_batches_tracked' not in name]
    model.load_state_dict({name: _tensor_of(name, weights) for name in names}, strict=False)
    return model.to(options.device)


def outputs_of(predictions) -> list[Tensor]:
    """Return logits and boxes of the last decoder layer."""
    return [predictions.logits, predictions.pred_boxes]


def _tensor_of(name: str, weights: dict[str, Tensor]) -> Tensor:
    """Return the tensor that transformers calls ``name``; query, key and value are separate weights there."""
    name = our_name('hf-detr', name)
    projection = re.search(r'\.([qkv])_proj\.(weight|bias)$', name)
    if projection is None:
        return weights[name]
    part, kind = projection.groups()
    stem = name[: projection.start()]
    query_key_value = weights[f'{stem}.in_proj_{kind}'].chunk(3)
    return query_key_value['qkv'.index(part)]
