# Mix-in for model.backbone: the last stage dilated instead of strided, so that its map has stride 16 (DETR, arXiv
# 2005.12872, section 4). The stage's first block keeps dilation 1, as in the authors' code.
dc5 = dict(
    strides=(1, 2, 2, 1),
    dilations=(1, 1, 1, 2),
    contract_dilation=True)
