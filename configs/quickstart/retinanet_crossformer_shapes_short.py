# Tokens attend to their neighbours only: there are no long distance groups.
_base_ = 'retinanet_crossformer_shapes.py'

model = dict(backbone=dict(attention='short'))
