"""The folders of the repository, and its detectors made small enough for a test."""

import re
from pathlib import Path

from mmengine.config import Config, ConfigDict

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / 'configs'
# Names of configs of dense detectors.
DENSE = re.compile(r'(ota|simota|fcos|atss)_')

# What makes a DETR of ours or of mmdet shallow: ResNet-18, 2 + 2 layers, 20 queries.
SHALLOW = {
    'model.backbone.depth': 18,
    'model.backbone.init_cfg': None,
    'model.encoder.num_layers': 2,
    'model.decoder.num_layers': 2,
    'model.num_queries': 20,
}
# And narrow, too: a quarter of ResNet-18's channels, which are a quarter of ResNet-50's.
SMALL = {
    **SHALLOW,
    'model.backbone.base_channels': 16,
    'model.neck.in_channels': [128],
    'model.encoder.layer_cfg.ffn_cfg.feedforward_channels': 64,
    'model.decoder.layer_cfg.ffn_cfg.feedforward_channels': 64,
}
MASK_CHANNELS = [64, 32, 16]


def small_channels(model: ConfigDict) -> list[int]:
    """Return the input channels of the neck once a model with a ResNet-50 is :data:`SMALL`."""
    return [count // 16 for count in model.neck.in_channels]


def small_model_cfg(name: str, **changes) -> ConfigDict:
    """Return the model of one of our configs, made :data:`SMALL`; ``changes`` are merged into it."""
    cfg = Config.fromfile(CONFIGS / name)
    small = dict(SMALL)
    own = {'neck.in_channels': small_channels(cfg.model)}
    if 'mask_head' in cfg.model:
        own['mask_head.in_channels'] = MASK_CHANNELS
    if cfg.model.backbone.type == 'SwinTransformer':
        # A twelfth of Swin-L's channels, and one block in place of two.
        del small['model.backbone.depth'], small['model.backbone.base_channels']
        own = {
            'neck.in_channels': [count // 12 for count in cfg.model.neck.in_channels],
            'backbone.embed_dims': 16,
            'backbone.num_heads': (1, 2, 4, 8),
            'backbone.depths': (1, 1, 1, 1),
        }
    cfg.merge_from_dict(small)
    cfg.merge_from_dict({f'model.{key}': value for key, value in {**own, **changes}.items()})
    return cfg.model


def shallow_model_cfg(name: str, **changes) -> ConfigDict:
    """Return the model of one of our configs, made :data:`SHALLOW`; ``changes`` are merged into it."""
    cfg = Config.fromfile(CONFIGS / name)
    cfg.merge_from_dict(SHALLOW)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg.model
