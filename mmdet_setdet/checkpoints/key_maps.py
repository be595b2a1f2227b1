"""Names of parameters in other code bases, and ours for them, as tables of regular expressions."""

import re

_SHARED = [
    (r'^backbone\.0\.body\.', 'backbone.'),
    (r'^input_proj\.', 'neck.convs.0.conv.'),
    (r'^transformer\.(encoder|decoder)\.', r'\1.'),
    (r'^class_embed\.', 'bbox_head.fc_cls.'),
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'^decoder\.norm\.', 'decoder.post_norm.'),
    *(
        (rf'^((?:en|de)coder\.layers\.\d+)\.norm{number}\.', rf'\1.norms.{number - 1}.')
        for number in (1, 2, 3)
    ),
]
_DENOISING = [
    (r'^refpoint_embed\.', 'query_embedding.'),
    (r'^label_enc\.', 'denoising.label_enc.'),
    (r'^(transformer\.)?patterns\.', 'patterns.'),
]
_DAB_DECODER = [
    (r'^(decoder\.)?bbox_embed\.', 'bbox_head.fc_reg.'),
    (r'\.sa_(q|k)(content|pos)_proj', r'.self_attn.\1\2_proj'),
    (r'\.ca_(q|k)(content|pos|pos_sine)_proj', r'.cross_attn.\1\2_proj'),
    (r'\.sa_v_proj', '.self_attn.v_proj'),
    (r'\.ca_v_proj', '.cross_attn.v_proj'),
    (r'\.ca_out_v_proj', '.cross_attn.out_proj'),
    (r'\.activation\.', '.ffn.layers.0.1.'),
]
_LEVELS = [
    (r'^input_proj\.3\.', 'neck.extra_convs.0.'),
    (r'^input_proj\.(\d)\.', r'neck.convs.\1.'),
    (r'^(neck\.\w+\.\d)\.0\.', r'\1.conv.'),
    (r'^(neck\.\w+\.\d)\.1\.', r'\1.gn.'),
    (r'^transformer\.level_embed', 'level_embed'),
]
_BOX_BRANCH = [
    (r'^bbox_embed\.layers\.0\.', 'bbox_head.reg_ffn.layers.0.0.'),
    (r'^bbox_embed\.layers\.1\.', 'bbox_head.reg_ffn.layers.1.'),
    (r'^bbox_embed\.layers\.2\.', 'bbox_head.fc_reg.'),
]
# transformers' own ResNet, an option in place of timm's.
_HF_RESNET = [
    (r'^backbone\.embedder\.embedder\.convolution\.', 'backbone.conv1.'),
    (r'^backbone\.embedder\.embedder\.normalization\.', 'backbone.bn1.'),
    *((rf'^backbone\.encoder\.stages\.{i}\.layers\.', f'backbone.layer{i + 1}.') for i in range(4)),
    *((rf'\.layer\.{i}\.convolution\.', f'.conv{i + 1}.') for i in range(3)),
    *((rf'\.layer\.{i}\.normalization\.', f'.bn{i + 1}.') for i in range(3)),
    (r'\.shortcut\.convolution\.', '.downsample.0.'),
    (r'\.shortcut\.normalization\.', '.downsample.1.'),
]
# cvpods' ResNet and FPN, which are detectron2's.
_CVPODS = [
    (r'^backbone\.bottom_up\.stem\.', 'backbone.'),
    *((rf'^backbone\.bottom_up\.res{i + 1}\.', f'backbone.layer{i}.') for i in range(1, 5)),
    (r'\.conv(\d)\.norm\.', r'.bn\1.'),
    (r'\.conv2_offset\.', '.conv2.conv_offset.'),
    (r'\.shortcut\.norm\.', '.downsample.1.'),
    (r'\.shortcut\.', '.downsample.0.'),
    *((rf'^backbone\.fpn_lateral{i + 3}\.', f'neck.lateral_convs.{i}.conv.') for i in range(3)),
    *((rf'^backbone\.fpn_output{i + 3}\.', f'neck.fpn_convs.{i}.conv.') for i in range(3)),
    *((rf'^backbone\.top_block\.p{i + 3}\.', f'neck.fpn_convs.{i}.conv.') for i in (3, 4)),
]
# By code base; all patterns are applied in this order.
RENAMED = {
    'detr': [
        *_SHARED,
        *_BOX_BRANCH,
        (r'^query_embed\.', 'query_embedding.'),
        (r'\.self_attn\.', '.self_attn.attn.'),
        (r'\.multihead_attn\.', '.cross_attn.attn.'),
    ],
    'dn-detr': [
        *_SHARED,
        *_DENOISING,
        *_DAB_DECODER,
        (r'^(encoder\.layers\.\d+)\.self_attn\.', r'\1.self_attn.attn.'),
    ],
    'dn-deformable-detr': [
        *_LEVELS,
        (r'^class_embed\.', 'bbox_head.cls_branches.'),
        (r'^(transformer\.decoder\.)?bbox_embed\.', 'bbox_head.reg_branches.'),
        *(
            (rf'^(bbox_head\.reg_branches\.\d+)\.layers\.{number}\.', rf'\1.{2 * number}.')
            for number in range(3)
        ),
        # The authors number the norm after cross attention first, though self-attention precedes it.
        (r'(\.decoder\.layers\.\d+)\.norm1\.', r'\1.norms.1.'),
        (r'(\.decoder\.layers\.\d+)\.norm2\.', r'\1.norms.0.'),
        (r'(\.decoder\.layers\.\d+)\.self_attn\.', r'\1.self_attn.attn.'),
        *_SHARED,
        *_DENOISING,
    ],
    'dn-deformable-detr-encoder': [
        *_LEVELS,
        *_SHARED,
        *_DENOISING,
        *_DAB_DECODER,
    ],
    'anchor-detr': [
        (r'^backbone\.body\.', 'backbone.'),
        *_LEVELS,
        (r'^transformer\.(en|de)coder_layers\.', r'\1coder.layers.'),
        (r'^transformer\.pattern\.', 'patterns.'),
        (r'^transformer\.position\.', 'query_embedding.'),
        (r'^transformer\.(adapt_pos\dd)\.0\.', r'\1.layers.0.'),
        (r'^transformer\.(adapt_pos\dd)\.2\.', r'\1.layers.1.'),
        # One classifier and one box branch, which are in a checkpoint once per decoder layer.
        (r'^transformer\.class_embed\.\d\.', 'bbox_head.fc_cls.'),
        (r'^transformer\.bbox_embed\.\d\.', 'bbox_embed.'),
        *_BOX_BRANCH,
        # The authors number the norm after cross attention first, though self-attention precedes it.
        (r'^(decoder\.layers\.\d)\.norm1\.', r'\1.norms.1.'),
        (r'^(decoder\.layers\.\d)\.norm2\.', r'\1.norms.0.'),
        (r'^(decoder\.layers\.\d)\.ffn\.norm2\.', r'\1.norms.2.'),
        (r'^(decoder\.layers\.\d)\.self_attn\.', r'\1.self_attn.attn.'),
        (r'^(encoder\.layers\.\d)\.norm1\.', r'\1.norms.0.'),
        (r'^(encoder\.layers\.\d)\.ffn\.norm2\.', r'\1.norms.1.'),
        (r'\.linear1\.', '.layers.0.0.'),
        (r'\.linear2\.', '.layers.1.'),
    ],
    # Both layouts: that of files on the hub (transformers 4 and earlier) and that of transformers 5.
    'hf-detr': [
        (r'^model\.backbone\.(conv_encoder\.)?model\.', 'backbone.'),
        *_HF_RESNET,
        (r'^model\.input_projection\.', 'neck.convs.0.conv.'),
        (r'^model\.query_position_embeddings\.', 'query_embedding.'),
        (r'^model\.(encoder|decoder)\.', r'\1.'),
        (r'^decoder\.layernorm\.', 'decoder.post_norm.'),
        (r'\.self_attn_layer_norm\.', '.norms.0.'),
        (r'\.encoder_attn_layer_norm\.', '.norms.1.'),
        (r'^(encoder\..+)\.final_layer_norm\.', r'\1.norms.1.'),
        (r'^(decoder\..+)\.final_layer_norm\.', r'\1.norms.2.'),
        (r'\.self_attn\.', '.self_attn.attn.'),
        (r'\.encoder_attn\.', '.cross_attn.attn.'),
        (r'\.attn\.o_proj\.', '.attn.out_proj.'),
        (r'\.(mlp\.)?fc1\.', '.ffn.layers.0.0.'),
        (r'\.(mlp\.)?fc2\.', '.ffn.layers.1.'),
        (r'^class_labels_classifier\.', 'bbox_head.fc_cls.'),
        (r'^bbox_predictor\.', 'bbox_embed.'),
        *_BOX_BRANCH,
    ],
    # A classifier's checkpoint; those of detectors and segmentors have mmdet's and mmseg's names already.
    'crossformer': [(r'^(?=(patch_embed|layers|norm|absolute_pos_embed)\b)', 'backbone.')],
    # A tower of cvpods is a sequence of convolution, norm and ReLU.
    'ota': [
        *_CVPODS,
        *(
            (rf'^head\.(cls|bbox)_subnet\.{3 * i + j}\.', rf'bbox_head.\1_convs.{i}.{part}.')
            for i in range(4)
            for j, part in enumerate(('conv', 'gn'))
        ),
        (r'^bbox_head\.bbox_convs\.', 'bbox_head.reg_convs.'),
        (r'^head\.cls_score\.', 'bbox_head.conv_cls.'),
        (r'^head\.bbox_pred\.', 'bbox_head.conv_reg.'),
        (r'^head\.ious_pred\.', 'bbox_head.conv_centerness.'),
        (r'^head\.scales\.', 'bbox_head.scales.'),
    ],
}
# The detector has the names of DETR below ``detr.``, beside it are the two parts of the mask head.
RENAMED['detr-panoptic'] = [
    (r'^detr\.', ''),
    *RENAMED['detr'],
    (r'^bbox_attention\.', 'mask_head.'),
    *((rf'^mask_head\.lay{i + 1}\.', f'mask_head.convs.{i}.conv.') for i in range(5)),
    *((rf'^mask_head\.gn{i + 1}\.', f'mask_head.convs.{i}.gn.') for i in range(5)),
    *((rf'^mask_head\.adapter{i + 1}\.', f'mask_head.adapters.{i}.') for i in range(3)),
    (r'^mask_head\.out_lay\.', 'mask_head.conv_out.'),
]
# Not weights but tables of the positions within a group, in checkpoints of the first release of CrossFormer.
NO_WEIGHTS = re.compile(r'\.(attn\.(biases|relative_position_index)|attn_mask)$')
# The same names, without the label embedding.
RENAMED['dab-detr'] = RENAMED['dn-detr']
# Predictors that the decoder shares with the model are in a checkpoint twice.
_TWO_STAGES = [
    (r'^transformer\.decoder\.(class|bbox)_embed\.', r'\1_embed.'),
    (r'^transformer\.enc_output\.', 'memory_trans_fc.'),
    (r'^transformer\.enc_output_norm\.', 'memory_trans_norm.'),
    (r'^transformer\.tgt_embed\.', 'tgt_embed.'),
]
RENAMED['dn-dino'] = [*_TWO_STAGES, *RENAMED['dn-deformable-detr']]
RENAMED['deformable-detr'] = [
    *_TWO_STAGES,
    (r'^transformer\.reference_points\.', 'reference_points_fc.'),
    (r'^transformer\.pos_trans\.', 'pos_trans_fc.'),
    (r'^transformer\.pos_trans_norm\.', 'pos_trans_norm.'),
    (r'^query_embed\.', 'query_embedding.'),
    *RENAMED['dn-deformable-detr'],
]
RENAMED['deformable-detr-refine'] = RENAMED['deformable-detr']
RENAMED['deformable-detr-two-stage'] = RENAMED['deformable-detr']
RENAMED['dino'] = [
    # Behind the predictors of six decoder layers.
    (r'^transformer\.enc_out_(class|bbox)_embed\.', r'\1_embed.6.'),
    (r'^label_enc\.', 'dn_query_generator.label_embedding.'),
    *RENAMED['dn-dino'],
    (r'^tgt_embed\.', 'query_embedding.'),
    (r'^decoder\.post_norm\.', 'decoder.norm.'),
]
RENAMED['dino-5scale'] = [
    (r'^input_proj\.3\.', 'neck.convs.3.'),
    (r'^input_proj\.4\.', 'neck.extra_convs.0.'),
    *RENAMED['dino'],
]


def our_name(source: str, name: str) -> str:
    """Return our name for a parameter ``name`` of the code base ``source``, a key of :data:`RENAMED`."""
    for pattern, replacement in RENAMED[source]:
        name = re.sub(pattern, replacement, name)
    return name
