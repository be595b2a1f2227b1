# Each token sees one scale: 4 x 4 pixels at first, 2 x 2 tokens after each stage.
_base_ = 'retinanet_crossformer_shapes.py'

model = dict(backbone=dict(patch_sizes=(4, ), merge_sizes=(2, )))
