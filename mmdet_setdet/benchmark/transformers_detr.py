"""DETR of Hugging Face's transformers as a peer, when it is installed."""
import re
import warnings
from importlib.util import find_spec

from torch import Tensor, nn

from ..checkpoints.key_maps import our_name
from .models import NUM_CLASSES, our_config
from .options import Options


def build(options: Options, weights: dict[str, Tensor]) -> nn.Module | None:
    """Their DETR as our config describes it, with our weights, or None if transformers is not installed."""
    try:
        from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
    except ImportError as error:
        if find_spec('transformers') is not None:
            warnings.warn(f'transformers is left out: {error}', stacklevel=2)
        return None
    cfg = our_config('detr_r50_150e', options.model).model
    depths = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}
    backbone = ResNetConfig(
        depths=depths[cfg.backbone.depth],
        hidden_sizes=[64, 128, 256, 512] if cfg.backbone.depth < 50 else [256, 512, 1024, 2048],
        layer_type='basic' if cfg.backbone.depth < 50 else 'bottleneck',
        out_features=['stage4'])
    model = DetrForObjectDetection(
        DetrConfig(
            backbone_config=backbone,
            use_timm_backbone=False,
            num_queries=cfg.num_queries,
            encoder_layers=cfg.encoder.num_layers,
            decoder_layers=cfg.decoder.num_layers,
            num_labels=NUM_CLASSES))
    named = [name for name in model.state_dict() if 'num_batches_tracked' not in name]
    model.load_state_dict({name: _of(name, weights) for name in named}, strict=False)
    return model.to(options.device)


def outputs_of(predictions) -> list[Tensor]:
    """Logits and boxes of the last decoder layer."""
    return [predictions.logits, predictions.pred_boxes]


def _of(name: str, weights: dict[str, Tensor]) -> Tensor:
    """The tensor that transformers calls ``name``; it keeps the projections of query, key and value apart."""
    name = our_name('hf-detr', name)
    projection = re.search(r'\.([qkv])_proj\.(weight|bias)$', name)
    if projection is None:
        return weights[name]
    part, kind = projection.groups()
    return weights[f'{name[:projection.start()]}.in_proj_{kind}'].chunk(3)['qkv'.index(part)]
