"""Linear layers by the faster of the two libraries for matrix products in a CPU build of torch.

torch takes MKL for matrices of float32 and oneDNN for convolutions. On an AMD EPYC oneDNN's products of the sizes
that occur here took 0.82 of MKL's time, with one thread 0.74.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmcv.cnn import Linear as MMCVLinear
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.flop_counter import register_flop_formula

from .switch import enabled, graph_is_rewritten

_has_onednn = torch.backends.mkldnn.is_available()
_onednn = torch.ops.mkldnn._linear_pointwise if _has_onednn else None
_onednn_has_bfloat16 = _has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()


# Those that add nothing to torch's; a subclass of somebody else may.
LINEAR_LAYERS = {nn.Linear, NonDynamicallyQuantizableLinear, MMCVLinear}


class Linear(nn.Linear):
    """torch's ``Linear`` through :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias)


def use_onednn(model: nn.Module) -> None:
    """Make all linear layers of torch and mmcv in a model a :class:`Linear`; parameters and their names stay."""
    for module in model.modules():
        if type(module) in LINEAR_LAYERS:
            module.__class__ = Linear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weight^T + bias.

    Args:
        x (Tensor): (..., I).
        weight (Tensor): (O, I).
        bias (Tensor, optional): (O, ).

    Returns:
        Tensor: (..., O).
    """
    return _linear(x, weight, bias, plain_linear)


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See :func:`linear`."""
    return F.linear(x, weight, bias)


def gelu_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``linear(gelu(x), weight, bias)``; backward computes the GELU again rather than keep it."""
    return _linear(x, weight, bias, plain_gelu_linear, gelu_before=True)


def plain_gelu_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See :func:`gelu_linear`."""
    return F.linear(F.gelu(x), weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``gelu(linear(x, weight, bias))``; without gradients the GELU makes no pass of its own over memory."""
    operands = None if _needs_gradients(x, weight, bias) else _for_onednn(x, weight, bias)
    if operands is None:
        return F.gelu(linear(x, weight, bias))
    return _product(*operands, gelu=True)


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


def _linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    plain: Callable[..., Tensor],
    gelu_before: bool = False,
) -> Tensor:
    operands = _for_onednn(x, weight, bias)
    if operands is None:
        return plain(x, weight, bias)
    x, weight, bias = operands
    if _needs_gradients(x, weight, bias):
        # In rows, for oneDNN's product of more dimensions is a view, in which a ReLU must not write before backward.
        rows = _Linear.apply(x.flatten(0, -2), weight, bias, gelu_before)
        return rows.unflatten(0, x.shape[:-1])
    return _product(F.gelu(x) if gelu_before else x, weight, bias)


def _for_onednn(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return the operands in the type to compute in, float32 or autocast's bfloat16; None: the product is torch's."""
    if not enabled() or _onednn is None or graph_is_rewritten():
        return None
    if not torch.backends.mkldnn.enabled or not torch.backends.mkl.is_available():
        return None
    operands = [x, weight] if bias is None else [x, weight, bias]
    if any(operand.device.type != 'cpu' for operand in operands) or x.dim() < 2 or not x.numel():
        return None
    if torch.is_autocast_enabled('cpu'):
        dtype = torch.get_autocast_dtype('cpu')
        if dtype != torch.bfloat16 or not _onednn_has_bfloat16:
            return None
        return x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    if any(operand.dtype != torch.float32 for operand in operands):
        return None
    return x, weight, bias


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
    """``linear(x)`` or, with ``gelu``, ``linear(gelu(x))``, by oneDNN, of rows x, (R, I).

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
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[1]:
            entered = F.gelu(x) if ctx.gelu else x
            grad_weight = grad.t() @ entered
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
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
