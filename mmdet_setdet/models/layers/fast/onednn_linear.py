"""Linear layers by the faster of the two libraries for matrix products in a CPU build of torch.

torch takes MKL for matrices of float32 and oneDNN for convolutions. On an AMD EPYC oneDNN's products of the sizes
that occur here took 0.82 of MKL's time, with one thread 0.74.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from .switch import enabled, graph_is_rewritten

_onednn = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None


class Linear(nn.Linear):
    """torch's ``Linear`` through :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias.

    Args:
        x (Tensor): (..., I).
        weight (Tensor): (O, I).
        bias (Tensor, optional): (O, ).

    Returns:
        Tensor: (..., O).
    """
    if not _suits_onednn(x, weight, bias):
        return plain_linear(x, weight, bias)
    if _needs_gradients(x, weight, bias):
        return _Linear.apply(x, weight, bias, False)
    return _product(x, weight, bias)


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See :func:`linear`."""
    return F.linear(x, weight, bias)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``linear(gelu(x), weight, bias)``; backward computes the GELU again rather than keep it."""
    if _suits_onednn(x, weight, bias) and _needs_gradients(x, weight, bias):
        return _Linear.apply(x, weight, bias, True)
    return linear(F.gelu(x), weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``gelu(linear(x, weight, bias))``; without gradients the GELU makes no pass of its own over memory."""
    if _suits_onednn(x, weight, bias) and not _needs_gradients(x, weight, bias):
        return _product(x, weight, bias, gelu=True)
    return F.gelu(linear(x, weight, bias))


def mlp(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """Return ``second(gelu(first(x)))``, (..., C) -> (..., C)."""
    if not enabled():
        return plain_mlp(x, first, second)
    if torch.is_grad_enabled():
        hidden = linear(x, first.weight, first.bias)
        return gelu_linear(hidden, second.weight, second.bias)
    hidden = linear_gelu(x, first.weight, first.bias)
    return linear(hidden, second.weight, second.bias)


def plain_mlp(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """See :func:`mlp`."""
    return second(F.gelu(first(x)))


def _suits_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether torch would take MKL for this product, and oneDNN may take its place."""
    if not enabled() or _onednn is None:
        return False
    if graph_is_rewritten() or torch.is_autocast_enabled('cpu'):
        return False
    if not torch.backends.mkldnn.enabled or not torch.backends.mkl.is_available():
        return False
    operands = [x, weight] if bias is None else [x, weight, bias]
    if not all(_is_cpu_float32(operand) for operand in operands):
        return False
    return x.dim() > 1 and x.numel() > 0


def _is_cpu_float32(tensor: Tensor) -> bool:
    return tensor.device.type == 'cpu' and tensor.dtype == torch.float32


def _needs_gradients(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if not torch.is_grad_enabled():
        return False
    trains_bias = bias is not None and bias.requires_grad
    return x.requires_grad or weight.requires_grad or trains_bias


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    activation = 'gelu' if gelu else 'none'
    algorithm = 'none' if gelu else ''  # the exact GELU, not its tanh approximation
    return _onednn(x, weight, bias, activation, [], algorithm)


class _Linear(torch.autograd.Function):
    """``linear(x)`` or, with ``gelu``, ``linear(gelu(x))``, by oneDNN.

    The gradient of x is oneDNN's too. That of the weight, both of whose operands are transposed, is faster by MKL.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gelu = gelu
        if gelu:
            x = F.gelu(x)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            entered = F.gelu(x) if ctx.gelu else x
            grad_weight = rows.t() @ entered.flatten(0, -2)
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        if ctx.needs_input_grad[0]:
            grad_x = linear(grad, weight.t())
            if ctx.gelu:
                grad_x = _through_gelu(grad_x, x)
        return grad_x, grad_weight, grad_bias, None


def _through_gelu(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of x from that of gelu(x), in the same memory unless it is differentiated once more."""
    if torch.is_grad_enabled():
        return torch.ops.aten.gelu_backward(grad, x)
    return torch.ops.aten.gelu_backward.grad_input(grad, x, grad_input=grad)


def count_operations() -> None:
    """Tell torch's counter of operations about oneDNN's product, which it does not know."""
    if _onednn is not None:
        register_flop_formula(_onednn)(_num_operations)


def _num_operations(x_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
    """Return 2 operations for each entry of x and each row of the weight."""
    return 2 * torch.Size(x_shape).numel() * weight_shape[0]
