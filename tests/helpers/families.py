"""Every family of models in small, for tests that hold for all of them: devices, precisions, compilation."""

import torch
from benchmarks.models import perturb_weights
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from helpers.batches import random_samples
from helpers.configs import CONFIGS

IMAGE_SIZES = [(64, 60), (48, 80), (56, 72)]
NUM_OBJECTS = (3, 0, 7)
DETR = {
    'encoder.num_layers': 1,
    'encoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'decoder.num_layers': 2,
    'decoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'num_queries': 20,
}
# ResNet-18 with an eighth of its channels, which are a quarter of ResNet-50's.
RESNET = {
    **DETR,
    'backbone.depth': 18,
    'backbone.base_channels': 8,
    'backbone.init_cfg': None,
}
CROSSFORMER = {
    **DETR,
    'backbone.arch': dict(embed_dims=32, depths=(1, 1, 2, 1), _delete_=True),
    'backbone.group_sizes': (3, 3, 3, 3),
    'backbone.intervals': (2, 2, 1, 1),
    'backbone.init_cfg': None,
    'neck.in_channels': [256],
}
ONE_TO_MANY = dict(num_queries=30)
HUNGARIAN = dict(type='mmdet_setdet.HungarianAssigner', k=2)
AUGMENTS = [dict(type='EraseRectangles', prob=0.5), dict(type='MixImages', mixup=0.8, cutmix=1.0)]

# The config of each family, and what is changed in its model.
FAMILIES = {
    'detr': ('detr_r50_150e.py', {}),
    'detr-dc5': ('detr_r50_dc5_500e.py', {}),
    'dab-detr': ('dab_detr_r50_50e.py', {}),
    'dn-detr': ('dn_detr_r50_50e.py', {}),
    'dn-detr-random-centres': ('dn_detr_r50_50e.py', {'with_random_refpoints': True}),
    'dn-detr-dc5-patterns': ('dn_detr_r50_dc5_3pat_12e.py', {}),
    'dn-detr-one-to-many': ('dn_detr_r50_50e.py', {'one_to_many': ONE_TO_MANY}),
    'dn-detr-hungarian-to-many': (
        'dn_detr_r50_50e.py',
        {'one_to_many': dict(ONE_TO_MANY, assigner=HUNGARIAN)},
    ),
    'vanilla': ('dn_vanilla_detr_r50_50e.py', {}),
    'conditional': ('dn_conditional_detr_r50_50e.py', {}),
    'deformable': ('dn_plain_deformable_detr_r50_50e.py', {}),
    'deformable-refine': ('dn_plain_deformable_detr_r50_50e.py', {'with_box_refine': True}),
    'dn-deformable': ('dn_deformable_detr_r50_50e.py', {}),
    'dn-deformable-by-transport': (
        'dn_deformable_detr_r50_50e.py',
        {'as_two_stage': True, 'proposal_assigner': {}},
    ),
    'dn-deformable-encoder': ('dn_deformable_detr_encoder_r50_50e.py', {}),
    'crossformer': ('dn_detr_crossformer_s_50e.py', {}),
    'crossformer-map': (
        'dn_detr_crossformer_s_50e.py',
        {'backbone.attention': 'short-long-map'},
    ),
    'crossformer-swin': (
        'dn_detr_crossformer_s_50e.py',
        {'backbone.attention': 'swin', 'backbone.position': 'relative'},
    ),
    'crossformer-pvt': (
        'dn_detr_crossformer_s_50e.py',
        {'backbone.attention': 'pvt', 'backbone.position': 'absolute'},
    ),
    'ota': ('quickstart/ota_r18_shapes.py', {}),
    'ota-nearest': (
        'quickstart/ota_r18_shapes.py',
        {'train_cfg.assigner.nearest': 3, 'train_cfg.assigner.center_radius': None},
    ),
    'simota': ('quickstart/ota_r18_shapes.py', {'train_cfg.assigner.solver': 'topk'}),
    'classifier': (
        'quickstart/crossformer_miniature.py',
        {'data_preprocessor.augments': AUGMENTS},
    ),
}


def family_cfg(family: str) -> Config:
    """Return the config of the small model of a family."""
    name, changes = FAMILIES[family]
    cfg = Config.fromfile(CONFIGS / name)
    if 'crossformer' in family:
        changes = {**CROSSFORMER, **changes}
    elif 'detr' in name:
        channels = [count // 32 for count in cfg.model.neck.in_channels]
        changes = {**RESNET, 'neck.in_channels': channels, **changes}
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    return cfg.model


def build_family(family: str) -> nn.Module:
    """Build the small model of a family with weights from the seed, none of which are zero."""
    torch.manual_seed(0)
    model = MODELS.build(family_cfg(family))
    model.init_weights()
    return perturb_weights(model)


def family_batch(family: str, num_objects: tuple[int, ...] = NUM_OBJECTS) -> dict:
    """Return images of several sizes (the classifier's: of one) and their data samples, as a data loader does."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 64)] * 3 if family == 'classifier' else IMAGE_SIZES
    images = []
    for height, width in sizes:
        image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
        images.append(image)
    if family == 'classifier':
        samples = [BaseDataElement(gt_label=label) for label in (2, 0, 5)]
    else:
        samples = random_samples(sizes, None, num_objects, num_classes=6)
    return dict(inputs=images, data_samples=samples)
