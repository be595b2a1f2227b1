"""DETR of Hugging Face's transformers as a peer, when it is installed."""
import re
import warnings
from importlib.util import find_spec

from torch import Tensor, nn

from .models import NUM_CLASSES, our_config
from .options import Options

RENAMED = [
    (r'^model\.backbone\.(conv_encoder\.)?model\.', 'backbone.'),
    (r'embedder\.embedder\.convolution', 'conv1'),
    (r'embedder\.embedder\.normalization', 'bn1'),
    (r'encoder\.stages\.(\d)\.layers\.', lambda match: f'layer{int(match[1]) + 1}.'),
    (r'shortcut\.convolution', 'downsample.0'),
    (r'shortcut\.normalization', 'downsample.1'),
    (r'layer\.(\d)\.convolution', lambda match: f'conv{int(match[1]) + 1}'),
    (r'layer\.(\d)\.normalization', lambda match: f'bn{int(match[1]) + 1}'),
    (r'^model\.(encoder|decoder)\.', r'\1.'),
    (r'^model\.input_projection', 'neck.convs.0.conv'),
    (r'^model\.query_position_embeddings', 'query_embedding'),
    (r'self_attn_layer_norm', 'norms.0'),
    (r'encoder_attn_layer_norm', 'norms.1'),
    (r'^(encoder.*)final_layer_norm', r'\1norms.1'),
    (r'^(decoder.*)final_layer_norm', r'\1norms.2'),
    (r'^decoder\.layernorm', 'decoder.post_norm'),
    (r'encoder_attn', 'cross_attn'),
    (r'o_proj', 'attn.out_proj'),
    (r'mlp\.fc1', 'ffn.layers.0.0'),
    (r'mlp\.fc2', 'ffn.layers.1'),
    (r'^class_labels_classifier', 'bbox_head.fc_cls'),
    (r'^bbox_predictor\.layers\.0', 'bbox_head.reg_ffn.layers.0.0'),
    (r'^bbox_predictor\.layers\.1', 'bbox_head.reg_ffn.layers.1'),
    (r'^bbox_predictor\.layers\.2', 'bbox_head.fc_reg'),
]


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
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    projection = re.search(r'\.([qkv])_proj\.(weight|bias)$', name)
    if projection is None:
        return weights[name]
    part, kind = projection.groups()
    return weights[f'{name[:projection.start()]}.attn.in_proj_{kind}'].chunk(3)['qkv'.index(part)]
