"""Code bases whose checkpoints are converted: how each is recognised, and which of our configs it may fit."""

from collections.abc import Iterable
from typing import NamedTuple


class Family(NamedTuple):
    """Checkpoints of one code base.

    Attributes:
        code (str): The code base.
        signs (tuple[str]): Names of weights that are in every checkpoint.
        configs (tuple[str]): Our configs of its models. Some have the same weights (DC5 changes strides, not weights).
    """

    code: str
    signs: tuple[str, ...]
    configs: tuple[str, ...]


_CROSSFORMER_SIZES = ('_s', '_b', 'pp_s', 'pp_b')
_CROSSFORMER = (
    *(
        f'crossformer{size}_imagenet'
        for size in ('_t', '_s', '_b', '_l', 'pp_s', 'pp_b', 'pp_l', 'pp_h')
    ),
    *(f'semantic_fpn_crossformer{size}_ade20k' for size in ('_s', '_b', '_l', 'pp_s', 'pp_b')),
    *(f'upernet_crossformer{size}_ade20k' for size in ('_s', '_b', '_l', 'pp_s', 'pp_b')),
    *(f'retinanet_crossformer{size}_fpn_1x' for size in _CROSSFORMER_SIZES),
    *(f'mask_rcnn_crossformer{size}_fpn_1x' for size in _CROSSFORMER_SIZES),
    'mask_rcnn_crossformer_s_fpn_3x',
    'mask_rcnn_crossformer_b_fpn_3x',
    'cascade_mask_rcnn_crossformer_s_fpn_3x',
)
# Weights by which the task of a checkpoint is recognised: only configs of that task are tried.
TASK_SIGNS = {'_imagenet': 'head.weight', '_ade20k': 'decode_head.conv_seg.weight'}
_ENCODER = 'transformer.encoder.layers.0.'
_DECODER = 'transformer.decoder.layers.0.'
_DEFORMABLE = (
    'query_embed.weight',
    'transformer.reference_points.weight',
    'transformer.level_embed',
)
_DINO = (
    'label_enc.weight',
    'transformer.enc_out_class_embed.weight',
    'transformer.tgt_embed.weight',
)
# A family precedes those whose signs its checkpoints have, too.
FAMILIES = {
    'detr': Family(
        'facebookresearch/detr',
        (
            'query_embed.weight',
            'class_embed.weight',
            _ENCODER + 'self_attn.in_proj_weight',
            _DECODER + 'multihead_attn.in_proj_weight',
        ),
        (
            'detr_r50_500e',
            'detr_r50_150e',
            'detr_r50_dc5_500e',
            'detr_r101_500e',
            'detr_r101_dc5_500e',
        ),
    ),
    'detr-panoptic': Family(
        'facebookresearch/detr, --masks',
        ('detr.query_embed.weight', 'bbox_attention.q_linear.weight', 'mask_head.lay1.weight'),
        (
            'detr_r50_panoptic',
            'detr_r50_dc5_panoptic',
            'detr_r101_panoptic',
            'detr_r50_instance',
        ),
    ),
    'dn-detr': Family(
        'IDEA-Research/DN-DETR, DN_DAB_DETR',
        (
            'label_enc.weight',
            'refpoint_embed.weight',
            _ENCODER + 'self_attn.in_proj_weight',
            _DECODER + 'ca_qpos_sine_proj.weight',
        ),
        (
            'dn_detr_r50_50e',
            'dn_detr_r50_12e',
            'dn_detr_r50_dc5_50e',
            'dn_detr_r101_50e',
            'dn_detr_r101_dc5_50e',
            'dn_detr_r50_dc5_3pat_12e',
            'dn_detr_r101_dc5_3pat_12e',
        ),
    ),
    'dn-deformable-detr-encoder': Family(
        'IDEA-Research/DN-DETR, dn_dab_deformable_detr_deformable_encoder_only',
        (
            'label_enc.weight',
            'refpoint_embed.weight',
            _ENCODER + 'self_attn.sampling_offsets.weight',
            _DECODER + 'ca_qpos_sine_proj.weight',
        ),
        (
            'dn_deformable_detr_encoder_r50_50e',
            'dn_deformable_detr_encoder_r50_12e',
            'dn_deformable_detr_encoder_r101_12e',
        ),
    ),
    'dn-deformable-detr': Family(
        'IDEA-Research/DN-DETR, dn_dab_deformable_detr',
        (
            'label_enc.weight',
            'refpoint_embed.weight',
            'tgt_embed.weight',
            _DECODER + 'cross_attn.sampling_offsets.weight',
        ),
        ('dn_deformable_detr_r50_50e', 'dn_deformable_detr_r50_24e', 'dn_deformable_detr_r50_12e'),
    ),
    'dino-5scale': Family(
        'IDEA-Research/DINO',
        (*_DINO, 'input_proj.4.0.weight'),
        ('dino_r50_5scale_12e',),
    ),
    'dino': Family(
        'IDEA-Research/DINO',
        _DINO,
        ('dino_r50_4scale_12e', 'dino_r50_4scale_36e', 'dino_swin_l_4scale_12e'),
    ),
    'dn-dino': Family(
        'IDEA-Research/DN-DETR, dn_dab_dino_deformable_detr',
        (
            'label_enc.weight',
            'transformer.enc_output.weight',
            'transformer.tgt_embed.weight',
            'class_embed.6.weight',
        ),
        ('dn_dino_r50_36e',),
    ),
    'deformable-detr-refine': Family(
        'fundamentalvision/Deformable-DETR, with refinement',
        (*_DEFORMABLE, 'transformer.decoder.bbox_embed.0.layers.0.weight'),
        ('deformable_detr_refine_r50_50e',),
    ),
    'deformable-detr': Family(
        'fundamentalvision/Deformable-DETR',
        _DEFORMABLE,
        ('deformable_detr_r50_50e',),
    ),
    'deformable-detr-two-stage': Family(
        'fundamentalvision/Deformable-DETR, two stages',
        ('transformer.enc_output.weight', 'transformer.pos_trans.weight'),
        ('deformable_detr_two_stage_r50_50e',),
    ),
    'dab-detr': Family(
        'IDEA-Research/DAB-DETR, DAB_DETR',
        (
            'refpoint_embed.weight',
            _ENCODER + 'self_attn.in_proj_weight',
            _DECODER + 'ca_qpos_sine_proj.weight',
        ),
        ('dab_detr_r50_50e',),
    ),
    'anchor-detr': Family(
        'megvii-research/AnchorDETR',
        (
            'transformer.position.weight',
            'transformer.pattern.weight',
            'transformer.adapt_pos1d.0.weight',
            'transformer.decoder_layers.0.cross_attn.in_proj_weight',
        ),
        (
            'anchor_detr_r50_50e',
            'anchor_detr_r50_dc5_50e',
            'anchor_detr_r101_50e',
            'anchor_detr_r101_dc5_50e',
        ),
    ),
    'hf-detr': Family(
        'transformers, DetrForObjectDetection',
        (
            'class_labels_classifier.weight',
            'model.query_position_embeddings.weight',
            'model.decoder.layers.0.encoder_attn.q_proj.weight',
        ),
        (
            'detr_r50_500e',
            'detr_r50_150e',
            'detr_r50_dc5_500e',
            'detr_r101_500e',
            'detr_r101_dc5_500e',
        ),
    ),
    'crossformer': Family(
        'cheerss/CrossFormer',
        ('patch_embed.projs.3.weight', 'layers.0.blocks.0.attn.pos.pos_proj.weight'),
        _CROSSFORMER,
    ),
    'ota': Family(
        'Megvii-BaseDetection/OTA',
        ('backbone.bottom_up.stem.conv1.weight', 'head.ious_pred.weight'),
        ('ota_r50_fpn_1x', 'ota_r101_fpn_2x', 'ota_x101_fpn_2x', 'ota_x101_dcn_fpn_2x'),
    ),
}
# Not converted, only recognised to be named in an error.
OTHERS = {
    "mmdet's or this package's own checkpoint, which loads without conversion": (
        'bbox_head.fc_cls.weight',
    ),
    "transformers' panoptic DETR": ('detr.class_labels_classifier.weight',),
    "transformers' Deformable DETR": (
        'model.decoder.layers.0.encoder_attn.sampling_offsets.weight',
    ),
    'DAB-Deformable-DETR': (
        'refpoint_embed.weight',
        _DECODER + 'cross_attn.sampling_offsets.weight',
    ),
    'Deformable DETR': (_DECODER + 'cross_attn.sampling_offsets.weight',),
    'Conditional DETR': (_DECODER + 'ca_qpos_sine_proj.weight', 'query_embed.weight'),
    'a ResNet alone, which goes into model.backbone.init_cfg': (
        'layer1.0.conv1.weight',
        'layer4.0.conv1.weight',
    ),
}


def guess(names: Iterable[str]) -> str | None:
    """Return the key of :data:`FAMILIES` or :data:`OTHERS` whose signs are all among the names of a checkpoint."""
    names = set(names)
    names |= {name.removeprefix('backbone.') for name in names}
    signs = {key: family.signs for key, family in FAMILIES.items()}
    signs.update(OTHERS)
    for key, needed in signs.items():
        if names.issuperset(needed):
            return key
    return None


def candidates(family: str, names: Iterable[str]) -> list[str]:
    """Return those configs of a family that are of the task of a checkpoint with these names."""
    names = set(names)
    configs = FAMILIES[family].configs
    for ending, sign in TASK_SIGNS.items():
        if sign in names:
            return [config for config in configs if config.endswith(ending)]
    return [config for config in configs if not config.endswith(tuple(TASK_SIGNS))]
