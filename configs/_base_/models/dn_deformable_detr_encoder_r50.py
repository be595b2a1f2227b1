# DN-DAB-Deformable-DETR whose encoder alone is deformable: the decoder of DAB-DETR attends to each level by itself and
# weighs what it read from the levels. Three patterns.
_base_ = 'dn_deformable_detr_r50.py'

attention = dict(embed_dims=256, num_heads=8, attn_drop=0., proj_drop=0.)

model = dict(
    num_patterns=3,
    learn_content=False,
    decoder=dict(
        _delete_=True,
        type='DABDecoder',
        num_layers=6,
        num_levels=4,
        layer_cfg=dict(
            self_attn_cfg=dict(cross_attn=False, **attention),
            cross_attn_cfg=dict(cross_attn=True, **attention),
            ffn_cfg=_base_.ffn)),
    positional_encoding=dict(temperature=20, offset=0.),
    bbox_head=dict(type='mmdet_setdet.DABDETRHead'),
    test_cfg=dict(max_per_img=300, nms={}))
