# Mix-ins for model.backbone: CrossFormer (arXiv 2108.00154) and CrossFormer++ (arXiv 2303.06908) under detectors and
# segmentors. docs/crossformer_detection.md tells where the weights come from.
crossformer_s = dict(
    type='CrossFormer',
    arch='small',
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crossformer-s.pth'))
crossformer_b = dict(arch='base', init_cfg=dict(checkpoint='checkpoints/crossformer-b.pth'))
crossformer_l = dict(arch='large', init_cfg=dict(checkpoint='checkpoints/crossformer-l.pth'))
crossformerpp_s = dict(arch='plus-small', init_cfg=dict(checkpoint='checkpoints/crossformerpp-s.pth'))
crossformerpp_b = dict(arch='plus-base', init_cfg=dict(checkpoint='checkpoints/crossformerpp-b.pth'))

# The attention's groups. Wide: larger in the first two stages, long distance groups span the map; with these the
# published number of operations comes out. Plain: CrossFormer's, for CrossFormer++, whose own grow from stage to stage.
wide_groups = dict(
    attention='short-long-map',
    group_sizes=(14, 14, 7, 7),
    intervals=(16, 8, 2, 1))
plain_groups = dict(
    group_sizes=(7, 7, 7, 7),
    intervals=(8, 4, 2, 1))
