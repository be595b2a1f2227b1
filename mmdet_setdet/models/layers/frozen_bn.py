"""Batch norm whose statistics and affine parameters never change, folded into the convolution before it."""

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ...registry import MODELS


@MODELS.register_module('FrozenBN')
class FrozenBatchNorm2d(nn.Module):
    """Batch norm in which everything is a buffer: no gradient, no weight decay, no change by ``train()``.

    The state dict has batch norm's names; ``num_batches_tracked`` in a checkpoint is ignored, as in the authors' code
    of DETR.

    Args:
        num_features (int): Channels.
        eps (float): Added to the variance.
    """
    _abbr_ = 'bn'  # mmcv names norm layers after it, so keys stay bn1, bn2, ...

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.folded = False
        self.register_buffer('weight', torch.ones(num_features))
        self.register_buffer('bias', torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The layer as x * scale + shift, each (C, )."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """One multiply-add on (B, C, H, W); nothing if the convolution before has done it (:class:`FoldedConv2d`)."""
        if self.folded:
            return x
        scale, shift = self.scale_and_shift()
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None])

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        state_dict.pop(prefix + 'num_batches_tracked', None)
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class FoldedConv2d(nn.Conv2d):
    """A convolution that scales its weights, not its output, by the frozen batch norm behind it.

    The weights stay trainable and keep their name; activations are written and kept for backward once instead of twice.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._norm = ()  # in a tuple, for the norm already belongs to another module

    def fold(self, norm: FrozenBatchNorm2d) -> None:
        """From now on computes ``norm(conv(x))``, and ``norm`` passes on what it gets."""
        norm.folded = True
        self._norm = (norm, )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W')."""
        if not self._norm:
            return super().forward(x)
        scale, shift = self._norm[0].scale_and_shift()
        if self.bias is not None:
            shift = shift + self.bias * scale
        scale = scale[:, None, None, None]
        weight = self.weight * scale
        if not weight.requires_grad:
            return self._conv_forward(x, weight, shift)
        # Backward makes the product again: to keep it for all layers takes as much memory as all weights.
        product = weight.data_ptr()
        with saved_tensors_hooks(lambda tensor: None if tensor.data_ptr() == product else tensor,
                                 lambda kept: self.weight.detach() * scale if kept is None else kept):
            return self._conv_forward(x, weight, shift)
