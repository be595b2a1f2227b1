"""A model of each family that can be exported, so small that its file is written within seconds."""

import torch
from benchmarks.models import perturb_weights
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from helpers.configs import CONFIGS

SIZE = (64, 96)
# One stage of ResNet-18 with an eighth of its channels, whose map has stride 8.
RESNET = {
    'backbone.depth': 18,
    'backbone.base_channels': 8,
    'backbone.num_stages': 1,
    'backbone.strides': (2,),
    'backbone.dilations': (1,),
    'backbone.out_indices': (0,),
    'neck.in_channels': [8],
}
CROSSFORMER = {
    'backbone.arch': dict(embed_dims=32, depths=(1, 2), _delete_=True),
    'backbone.group_sizes': (4, 4),
    'backbone.intervals': (2, 2),
    'backbone.out_indices': (1,),
}
DETR = {
    'encoder.num_layers': 1,
    'encoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'decoder.num_layers': 2,
    'decoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'num_queries': 12,
}
RESNET_DETR = {**RESNET, **DETR}
TWO_LEVELS = {
    **RESNET_DETR,
    'num_feature_levels': 2,
    'neck.num_outs': 2,
    'encoder.layer_cfg.self_attn_cfg.num_levels': 2,
}
DEFORMABLE = {**TWO_LEVELS, 'decoder.layer_cfg.cross_attn_cfg.num_levels': 2}
DENSE = {
    **RESNET,
    'neck.num_outs': 2,
    'bbox_head.stacked_convs': 1,
}
POINTS = {**DENSE, 'bbox_head.strides': [8, 16]}

# The config of each family, and what is changed in its model.
FAMILIES = {
    'detr': ('detr_r50_500e.py', RESNET_DETR),
    'dab-detr': ('dab_detr_r50_50e.py', RESNET_DETR),
    'dn-detr': ('dn_detr_r50_50e.py', RESNET_DETR),
    'conditional-detr': ('dn_conditional_detr_r50_50e.py', RESNET_DETR),
    'anchor-detr': ('anchor_detr_r50_50e.py', RESNET_DETR),
    'deformable-detr': ('deformable_detr_r50_50e.py', DEFORMABLE),
    'two-stage': ('deformable_detr_two_stage_r50_50e.py', DEFORMABLE),
    'dn-deformable-detr': ('dn_deformable_detr_r50_50e.py', DEFORMABLE),
    'dn-deformable-encoder': (
        'dn_deformable_detr_encoder_r50_50e.py',
        {**TWO_LEVELS, 'decoder.num_levels': 2},
    ),
    'dino': ('dino_r50_4scale_12e.py', DEFORMABLE),
    'proposals-by-transport': (
        'dino_r50_4scale_12e.py',
        {**DEFORMABLE, 'proposal_assigner': {}},
    ),
    'ota': ('quickstart/ota_r18_shapes.py', POINTS),
    'fcos': (
        'quickstart/fcos_r18_shapes.py',
        {**POINTS, 'bbox_head.regress_ranges': ((-1, 24), (24, 1e8))},
    ),
    'atss': (
        'quickstart/atss_r18_shapes.py',
        {**DENSE, 'bbox_head.anchor_generator.strides': [8, 16]},
    ),
    'retinanet-crossformer': (
        'quickstart/retinanet_crossformer_shapes.py',
        {
            **CROSSFORMER,
            'neck.in_channels': [64],
            'bbox_head.anchor_generator.strides': [8],
        },
    ),
    'dn-detr-crossformer': (
        'dn_detr_crossformer_s_50e.py',
        {**CROSSFORMER, **DETR, 'neck.in_channels': [64]},
    ),
    'classifier': (
        'quickstart/crossformer_miniature.py',
        {**CROSSFORMER, 'in_channels': 64},
    ),
}


def small_family(family: str) -> tuple[nn.Module, Config]:
    """Return the small model of a family, with weights from the seed and in evaluation mode, and its config."""
    name, changes = FAMILIES[family]
    cfg = Config.fromfile(CONFIGS / name)
    changes = {'backbone.init_cfg': None, **changes}
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
    perturb_weights(model)
    num_classes = (cfg.model.get('bbox_head') or cfg.model).num_classes
    model.dataset_meta = dict(classes=[f'class {index}' for index in range(num_classes)])
    return model.eval(), cfg
