"""Batch norm whose statistics and affine parameters never change."""

import torch
from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module('FrozenBN')
class FrozenBatchNorm2d(nn.Module):
    """Batch norm in which everything is a buffer: no gradient, no weight decay, no change by ``train()``.

    The state dict has batch norm's names. ``num_batches_tracked`` in a checkpoint is ignored, as in the code of DETR's
    authors. ``fast.conv_norm`` computes it together with the convolution before it.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance.
    """

    _abbr_ = 'bn'  # mmcv names norm layers after it, so keys stay bn1, bn2, ...

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer('weight', torch.ones(num_features))
        self.register_buffer('bias', torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the layer as x * scale + shift, each (C, )."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, by one multiply-add."""
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None])

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        state_dict.pop(prefix + 'num_batches_tracked', None)
        super()._load_from_state_dict(state_dict, prefix, *args)
