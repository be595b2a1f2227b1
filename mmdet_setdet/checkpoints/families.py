"""The code bases whose checkpoints are converted: how each is recognised, and which of our configs it may fit."""
from collections.abc import Iterable
from typing import NamedTuple


class Family(NamedTuple):
    """Checkpoints of one code base.

    Attributes:
        code (str): Whose code wrote them.
        signs (tuple[str]): Names that are in every one of them.
        configs (tuple[str]): Our configs of its models. Some have the same weights (DC5 is a stride, not a weight).
    """
    code: str
    signs: tuple[str, ...]
    configs: tuple[str, ...]


_CROSSFORMER = (
    *(f'crossformer{name}_imagenet' for name in ('_t', '_s', '_b', '_l', 'pp_s', 'pp_b', 'pp_l', 'pp_h')),
    *(f'{head}_crossformer{name}_ade20k' for head in ('semantic_fpn', 'upernet')
      for name in ('_s', '_b', '_l', 'pp_s', 'pp_b')),
    *(f'{head}_crossformer{name}_fpn_1x' for head in ('retinanet', 'mask_rcnn')
      for name in ('_s', '_b', 'pp_s', 'pp_b')),
    'mask_rcnn_crossformer_s_fpn_3x', 'mask_rcnn_crossformer_b_fpn_3x', 'cascade_mask_rcnn_crossformer_s_fpn_3x')
# What a config of a task wants: others of the family need not be tried.
TASK_SIGNS = {'_imagenet': 'head.weight', '_ade20k': 'decode_head.conv_seg.weight'}
_ENCODER, _DECODER = 'transformer.encoder.layers.0.', 'transformer.decoder.layers.0.'
# A family stands before those whose signs it has too.
FAMILIES = {
    'detr': Family(
        'facebookresearch/detr',
        ('query_embed.weight', 'class_embed.weight', _ENCODER + 'self_attn.in_proj_weight',
         _DECODER + 'multihead_attn.in_proj_weight'),
        ('detr_r50_500e', 'detr_r50_150e', 'detr_r50_dc5_500e', 'detr_r101_500e', 'detr_r101_dc5_500e')),
    'dn-detr': Family(
        'IDEA-Research/DN-DETR, DN_DAB_DETR',
        ('label_enc.weight', 'refpoint_embed.weight', _ENCODER + 'self_attn.in_proj_weight',
         _DECODER + 'ca_qpos_sine_proj.weight'),
        ('dn_detr_r50_50e', 'dn_detr_r50_12e', 'dn_detr_r50_dc5_50e', 'dn_detr_r101_50e', 'dn_detr_r101_dc5_50e',
         'dn_detr_r50_dc5_3pat_12e', 'dn_detr_r101_dc5_3pat_12e')),
    'dn-deformable-detr-encoder': Family(
        'IDEA-Research/DN-DETR, dn_dab_deformable_detr_deformable_encoder_only',
        ('label_enc.weight', 'refpoint_embed.weight', _ENCODER + 'self_attn.sampling_offsets.weight',
         _DECODER + 'ca_qpos_sine_proj.weight'),
        ('dn_deformable_detr_encoder_r50_50e', 'dn_deformable_detr_encoder_r50_12e',
         'dn_deformable_detr_encoder_r101_12e')),
    'dn-deformable-detr': Family(
        'IDEA-Research/DN-DETR, dn_dab_deformable_detr',
        ('label_enc.weight', 'refpoint_embed.weight', 'tgt_embed.weight',
         _DECODER + 'cross_attn.sampling_offsets.weight'),
        ('dn_deformable_detr_r50_50e', 'dn_deformable_detr_r50_24e', 'dn_deformable_detr_r50_12e')),
    'dab-detr': Family(
        'IDEA-Research/DAB-DETR, DAB_DETR',
        ('refpoint_embed.weight', _ENCODER + 'self_attn.in_proj_weight', _DECODER + 'ca_qpos_sine_proj.weight'),
        ('dab_detr_r50_50e', )),
    'hf-detr': Family(
        'transformers, DetrForObjectDetection',
        ('class_labels_classifier.weight', 'model.query_position_embeddings.weight',
         'model.decoder.layers.0.encoder_attn.q_proj.weight'),
        ('detr_r50_500e', 'detr_r50_150e', 'detr_r50_dc5_500e', 'detr_r101_500e', 'detr_r101_dc5_500e')),
    'crossformer': Family(
        'cheerss/CrossFormer',
        ('patch_embed.projs.3.weight', 'layers.0.blocks.0.attn.pos.pos_proj.weight'),
        _CROSSFORMER),
    'ota': Family(
        'Megvii-BaseDetection/OTA',
        ('backbone.bottom_up.stem.conv1.weight', 'head.ious_pred.weight'),
        ('ota_r50_fpn_1x', 'ota_r101_fpn_2x', 'ota_x101_fpn_2x', 'ota_x101_dcn_fpn_2x')),
}
# Recognised to be named in an error.
OTHERS = {
    "mmdet's or this package's own checkpoint, which loads without conversion": ('bbox_head.fc_cls.weight', ),
    'a panoptic DETR': ('detr.query_embed.weight', 'mask_head.lay1.weight'),
    "transformers' panoptic DETR": ('detr.class_labels_classifier.weight', ),
    "transformers' Deformable DETR": ('model.decoder.layers.0.encoder_attn.sampling_offsets.weight', ),
    'DAB-Deformable-DETR': ('refpoint_embed.weight', _DECODER + 'cross_attn.sampling_offsets.weight'),
    'Deformable DETR': (_DECODER + 'cross_attn.sampling_offsets.weight', ),
    'Conditional DETR': (_DECODER + 'ca_qpos_sine_proj.weight', 'query_embed.weight'),
    'a ResNet alone, which goes into model.backbone.init_cfg': ('layer1.0.conv1.weight', 'layer4.0.conv1.weight'),
}


def guess(names: Iterable[str]) -> str | None:
    """The key of :data:`FAMILIES` or :data:`OTHERS` whose signs are all among the names of a checkpoint's weights."""
    names = {stem for name in names for stem in (name, name.removeprefix('backbone.'))}
    signs = {**{key: family.signs for key, family in FAMILIES.items()}, **OTHERS}
    return next((key for key, needed in signs.items() if names.issuperset(needed)), None)


def candidates(family: str, names: Iterable[str]) -> list[str]:
    """Our configs of a family that a checkpoint with these names may fit: those of its task."""
    tasks = {ending for ending, sign in TASK_SIGNS.items() if sign in names}
    configs = FAMILIES[family].configs
    return [config for config in configs if {ending for ending in TASK_SIGNS if config.endswith(ending)} == tasks]
