"""A linear layer by the faster of the two libraries for matrix products in a CPU build of torch.

torch takes MKL for matrices of float32 and oneDNN for convolutions. On an AMD EPYC oneDNN's products of the sizes
that occur here took 0.82 of MKL's time, with one thread 0.74.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

_onednn = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None


class Linear(nn.Linear):
    """torch's ``Linear`` through :func:`linear`."""

    def forward(self, x: Tensor, gelu: str | None = None) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias, gelu)


class MLP(nn.Module):
    """fc2(GELU(fc1(x))): channels become ``hidden`` many and ``dims`` again."""

    def __init__(self, dims: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dims, hidden)
        self.fc2 = Linear(hidden, dims)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dims) -> the same."""
        if torch.is_grad_enabled():
            return self.fc2(self.fc1(x), gelu='before')
        return self.fc2(self.fc1(x, gelu='after'))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: str | None = None) -> Tensor:
    """x weight^T + bias.

    Args:
        x (Tensor): (..., I).
        weight (Tensor): (O, I).
        bias (Tensor, optional): (O, ).
        gelu (str, optional): Where a GELU is: 'before', of x, which oneDNN's path computes again in the backward pass
            rather than keep it; 'after', of the result, for which it makes no pass over memory if no gradients are
            wanted.

    Returns:
        Tensor: (..., O).
    """
    operands = [x, weight] if bias is None else [x, weight, bias]
    by_onednn = _suits_onednn(*operands)
    if by_onednn and torch.is_grad_enabled() and any(operand.requires_grad for operand in operands):
        x = _Linear.apply(x, weight, bias, gelu == 'before')
    else:
        x = F.gelu(x) if gelu == 'before' else x
        if by_onednn:
            return _multiply(x, weight, bias, gelu == 'after')
        x = F.linear(x, weight, bias)
    return F.gelu(x) if gelu == 'after' else x


def _suits_onednn(x: Tensor, *others: Tensor) -> bool:
    """Where torch would take MKL, but for what rewrites the graph: that knows torch's own operators best."""
    if (torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled('cpu')
            or torch._C._are_functorch_transforms_active()):
        return False
    return (_onednn is not None and torch.backends.mkldnn.enabled and torch.backends.mkl.is_available()
            and all(y.device.type == 'cpu' and y.dtype == torch.float32 for y in (x, *others))
            and x.dim() > 1 and x.numel() > 0)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    return _onednn(x, weight, bias, 'gelu' if gelu else 'none', [], 'none' if gelu else '')


class _Linear(torch.autograd.Function):
    """Gradients of tokens by oneDNN too; those of weights, whose operands both are transposed, are faster by MKL."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gelu = gelu
        return _multiply(F.gelu(x) if gelu else x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1]:
            of_weight = rows.t() @ (F.gelu(x) if ctx.gelu else x).flatten(0, -2)
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        if ctx.needs_input_grad[0]:
            of_x = linear(grad, weight.t())
            if ctx.gelu and torch.is_grad_enabled():  # to be differentiated once more
                of_x = torch.ops.aten.gelu_backward(of_x, x)
            elif ctx.gelu:
                torch.ops.aten.gelu_backward.grad_input(of_x, x, grad_input=of_x)
        return of_x, of_weight, of_bias, None


if _onednn is not None:

    @register_flop_formula(_onednn)
    def _operations(x_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
        """2 operations for each entry and column of the weight."""
        return 2 * torch.Size(x_shape).numel() * weight_shape[0]
