# The OTA of the quick start with SimOTA's short cut: each object takes its k cheapest predictions.
_base_ = 'ota_r18_shapes.py'

model = dict(train_cfg=dict(assigner=dict(solver='topk')))
