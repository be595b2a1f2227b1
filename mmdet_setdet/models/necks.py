"""Necks between backbones and transformers."""

import torch
from mmdet.models.necks import ChannelMapper as MMDetChannelMapper

from ..registry import MODELS

__all__ = ['ChannelMapper']


@MODELS.register_module()
class ChannelMapper(MMDetChannelMapper):
    """mmdet's ``ChannelMapper`` with biases before its group norms, as the authors of Deformable DETR and DINO have.

    mmdet's models of both have none; their checkpoints load with zeros, which is the same.
    """

    def __init__(self, *args, bias: bool = True, **kwargs) -> None:
        super().__init__(*args, bias=bias, **kwargs)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        for name, parameter in self.named_parameters(prefix=prefix.rstrip('.')):
            if name.endswith('conv.bias'):
                state_dict.setdefault(name, torch.zeros_like(parameter))
        super()._load_from_state_dict(state_dict, prefix, *args)
