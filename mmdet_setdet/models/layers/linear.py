"""A linear layer by the faster of the two libraries for matrix products in a CPU build of torch.

torch takes MKL for matrices of float32 and oneDNN for convolutions. On AMD processors oneDNN's products of the sizes
that occur here were measured to be faster by a quarter, with one thread by a third.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

_onednn = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None


class Linear(nn.Linear):
    """torch's ``Linear`` through :func:`linear`."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias, gelu)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """x weight^T + bias.

    Args:
        x (Tensor): (..., I).
        weight (Tensor): (O, I).
        bias (Tensor, optional): (O, ).
        gelu (bool): Followed by the GELU, which costs no pass over memory of its own if no gradients are wanted.

    Returns:
        Tensor: (..., O).
    """
    operands = [x, weight] if bias is None else [x, weight, bias]
    if not _suits_onednn(*operands):
        x = F.linear(x, weight, bias)
    elif torch.is_grad_enabled() and any(operand.requires_grad for operand in operands):
        x = _Linear.apply(x, weight, bias)
    else:
        return _multiply(x, weight, bias, gelu)
    return F.gelu(x) if gelu else x


def _suits_onednn(x: Tensor, *others: Tensor) -> bool:
    """Where torch would take MKL: elsewhere, and when it sees the whole graph, it chooses well by itself."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return False
    return (_onednn is not None and torch.backends.mkldnn.enabled and torch.backends.mkl.is_available()
            and all(y.device.type == 'cpu' and y.dtype == torch.float32 for y in (x, *others))
            and x.dim() > 1 and x.numel() > 0)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    return _onednn(x, weight, bias, 'gelu' if gelu else 'none', [], 'none' if gelu else '')


class _Linear(torch.autograd.Function):
    """Gradients of tokens by oneDNN too; those of weights, whose operands both are transposed, are faster by MKL."""
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _multiply(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        wanted = ctx.needs_input_grad
        return (linear(grad, weight.t()) if wanted[0] else None,
                rows.t() @ x.flatten(0, -2) if wanted[1] else None,
                rows.sum(0) if wanted[2] else None)


if _onednn is not None:

    @register_flop_formula(_onednn)
    def _operations(x_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
        """2 operations for each entry and column of the weight."""
        return 2 * torch.Size(x_shape).numel() * weight_shape[0]
