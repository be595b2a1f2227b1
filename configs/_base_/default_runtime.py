# What every detector's config shares: mmdet's runtime and this package.
_base_ = ['mmdet::_base_/default_runtime.py', 'plugin_runtime.py']

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best='auto'))
