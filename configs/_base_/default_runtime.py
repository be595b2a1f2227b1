# What every config of this repository shares: mmdet's runtime, and the package that registers ours.
_base_ = 'mmdet::_base_/default_runtime.py'

runner_type = 'CheckingRunner'
custom_imports = dict(imports=['mmdet_setdet'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best='auto'))
