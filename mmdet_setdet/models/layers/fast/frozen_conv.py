"""A convolution and the frozen batch norm after it, computed as one convolution with scaled weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..frozen_bn import FrozenBatchNorm2d
from .switch import enabled, graph_is_rewritten


def conv_norm(conv: nn.Module, norm: FrozenBatchNorm2d, x: Tensor) -> Tensor:
    """Return ``norm(conv(x))``, (B, C_in, H, W) -> (B, C_out, H', W').

    The norm scales and shifts channels by constants. Applied to the weights instead of the output, activations are
    written, and kept for backward, once instead of twice::

        norm(conv(x)) = scale * (w * x + b) + shift = (scale w) * x + (scale b + shift)

    Forward hooks of the two modules are not called.
    """
    if not enabled() or type(conv) is not nn.Conv2d or conv.padding_mode != 'zeros':
        return plain_conv_norm(conv, norm, x)
    scale, shift = norm.scale_and_shift()
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    trains = torch.is_grad_enabled() and conv.weight.requires_grad
    if not trains or graph_is_rewritten() or isinstance(conv.padding, str):
        return F.conv2d(x, _scaled(conv.weight, scale), shift, *options)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    return _ScaledConv.apply(x, conv.weight, scale, shift, options)


def plain_conv_norm(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """See :func:`conv_norm`."""
    return norm(conv(x))


class _ScaledConv(torch.autograd.Function):
    """A convolution with ``weight * scale``, which backward computes again.

    Kept for all layers of a backbone, the products would take as much memory as its weights. The shift has a gradient
    if the convolution has a bias; the scale is constant.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, options: tuple
    ) -> Tensor:
        ctx.save_for_backward(x, weight, scale)
        ctx.options = options
        product = _scaled(weight, scale).to(x.dtype)
        return F.conv2d(x, product, shift.to(x.dtype), *options)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        needs_x, needs_weight, _, needs_shift, _ = ctx.needs_input_grad
        grad_x, grad_weight, grad_shift = torch.ops.aten.convolution_backward(
            grad,
            x,
            _scaled(weight, scale).to(x.dtype),
            [len(scale)],
            stride,
            padding,
            dilation,
            transposed=False,
            output_padding=[0, 0],
            groups=groups,
            output_mask=[needs_x, needs_weight, needs_shift],
        )
        if grad_weight is not None:
            grad_weight = _scaled(grad_weight.to(weight.dtype), scale)
        if grad_shift is not None:
            grad_shift = grad_shift.to(scale.dtype)
        return grad_x, grad_weight, None, grad_shift, None


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """Scale each output channel of a weight."""
    return weight * scale[:, None, None, None]
