"""Names of parameters in other code bases -> ours."""
import re

_SHARED = [
    (r'^backbone\.0\.body\.', 'backbone.'),
    (r'^input_proj\.', 'neck.convs.0.conv.'),
    (r'^transformer\.(encoder|decoder)\.', r'\1.'),
    (r'^class_embed\.', 'bbox_head.fc_cls.'),
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'^decoder\.norm\.', 'decoder.post_norm.'),
    *((rf'^((?:en|de)coder\.layers\.\d+)\.norm{number}\.', rf'\1.norms.{number - 1}.') for number in (1, 2, 3)),
]
# By the authors' code base; applied one after the other.
RENAMED = {
    'detr': [
        *_SHARED,
        (r'^bbox_embed\.layers\.0\.', 'bbox_head.reg_ffn.layers.0.0.'),
        (r'^bbox_embed\.layers\.1\.', 'bbox_head.reg_ffn.layers.1.'),
        (r'^bbox_embed\.layers\.2\.', 'bbox_head.fc_reg.'),
        (r'^query_embed\.', 'query_embedding.'),
        (r'\.self_attn\.', '.self_attn.attn.'),
        (r'\.multihead_attn\.', '.cross_attn.attn.'),
    ],
    'dn-detr': [
        *_SHARED,
        (r'^(decoder\.)?bbox_embed\.', 'bbox_head.fc_reg.'),
        (r'^refpoint_embed\.', 'query_embedding.'),
        (r'^label_enc\.', 'denoising.label_enc.'),
        (r'^(transformer\.)?patterns\.', 'patterns.'),
        (r'\.sa_(q|k)(content|pos)_proj', r'.self_attn.\1\2_proj'),
        (r'\.ca_(q|k)(content|pos|pos_sine)_proj', r'.cross_attn.\1\2_proj'),
        (r'\.sa_v_proj', '.self_attn.v_proj'),
        (r'\.ca_v_proj', '.cross_attn.v_proj'),
        (r'^(encoder\.layers\.\d+)\.self_attn\.', r'\1.self_attn.attn.'),
        (r'\.activation\.', '.ffn.layers.0.1.'),
    ],
}


def our_name(source: str, name: str) -> str:
    """Our name of the parameter that the code base ``source`` ('detr' or 'dn-detr') calls ``name``."""
    for pattern, replacement in RENAMED[source]:
        name = re.sub(pattern, replacement, name)
    return name
