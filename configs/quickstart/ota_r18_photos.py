# The quick start's OTA on a few hundred photographs, from its weights or from scratch (docs/small_data.md).
_base_ = ['ota_r18_shapes.py', '../_base_/small_data.py']

globals().update(_base_.small_data)
