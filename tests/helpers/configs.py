"""The folders of the repository, and its detectors made small enough for a test."""

import re
from pathlib import Path

from mmengine.config import Config

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / 'configs'
# Names of configs of dense detectors.
DENSE = re.compile(r'(ota|simota|fcos|atss)_')

# What makes a DETR of ours or of mmdet small: ResNet-18, 2 + 2 layers, 20 queries.
SMALL = {
    'model.backbone.depth': 18,
    'model.backbone.init_cfg': None,
    'model.neck.in_channels': [512],
    'model.encoder.num_layers': 2,
    'model.decoder.num_layers': 2,
    'model.num_queries': 20,
}


def small_model_cfg(name: str, **changes) -> Config:
    """Return the model of one of our configs, made :data:`SMALL`; ``changes`` are merged into it."""
    cfg = Config.fromfile(CONFIGS / name)
    channels = [
        count // 4 for count in cfg.model.neck.in_channels
    ]  # ResNet-18 has a quarter of ResNet-50's
    changes = {'neck.in_channels': channels, **changes}
    if 'mask_head' in cfg.model:
        changes = {'mask_head.in_channels': [256, 128, 64], **changes}
    small = SMALL
    if cfg.model.backbone.type == 'SwinTransformer':
        # A quarter of Swin-L's channels, and one block in place of two.
        changes.update({'backbone.embed_dims': 48, 'backbone.depths': (1, 1, 1, 1)})
        small = {key: value for key, value in SMALL.items() if key != 'model.backbone.depth'}
    cfg.merge_from_dict(small)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg.model
