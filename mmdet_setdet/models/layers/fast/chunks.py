"""Residual branches on many tokens: a few at a time, so that a CPU's cache holds them, and sums in memory at hand."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .switch import enabled

# Numbers that a chunk's widest activation may have, per thread.
CACHED_FLOATS = 2**21


def tokens_in_cache(device: torch.device, widest: int) -> int | None:
    """Return how many tokens to handle at a time; None: all at once.

    Args:
        device (torch.device): Where the tokens are. Chunks help on a CPU only.
        widest (int): Most channels that an activation of a token has on its way.
    """
    if not enabled() or device.type != 'cpu' or torch.compiler.is_compiling():
        return None
    return CACHED_FLOATS * torch.get_num_threads() // widest


def map_chunks(
    function: Callable[..., Tensor],
    tokens: Tensor,
    sizes: Sequence[int],
    arguments: Sequence[tuple],
    donated: bool = False,
) -> Tensor:
    """Return ``function(chunk, *arguments)`` of all chunks, in the order of the tokens.

    Args:
        function (Callable): Maps (S, C) to the same shape.
        tokens (Tensor): (T, C).
        sizes (Sequence[int]): Number of tokens S of each chunk.
        arguments (Sequence[tuple]): Further arguments for each chunk.
        donated (bool): The caller made ``tokens`` and does not read them again. Then, if there are no gradients,
            results take their place: new memory is slow on a CPU.

    Returns:
        Tensor: (T, C).
    """
    if len(sizes) == 1:
        return function(tokens, *arguments[0])
    chunks = tokens.split(list(sizes))
    if not (enabled() and donated) or torch.is_grad_enabled():
        return plain_map_chunks(function, chunks, arguments)
    for chunk, chunk_arguments in zip(chunks, arguments):
        chunk.copy_(function(chunk, *chunk_arguments))
    return tokens


def plain_map_chunks(
    function: Callable[..., Tensor], chunks: Sequence[Tensor], arguments: Sequence[tuple]
) -> Tensor:
    """See :func:`map_chunks`."""
    results = []
    for chunk, chunk_arguments in zip(chunks, arguments):
        results.append(function(chunk, *chunk_arguments))
    return torch.cat(results)


def add_branch(x: Tensor, branch: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return x + scale * branch.

    Args:
        x (Tensor): The shortcut, which is not changed.
        branch (Tensor): Output of the last layer of a branch, which nobody else reads: its memory may become the sum's.
        scale (Tensor, optional): Broadcast to the branch. 1 by default.
    """
    if not enabled() or branch.dtype != x.dtype:
        return plain_add_branch(x, branch, scale)
    if scale is None:
        return branch.add_(x)
    return torch.addcmul(x, branch, scale.to(branch.dtype))


def plain_add_branch(x: Tensor, branch: Tensor, scale: Tensor | None = None) -> Tensor:
    """See :func:`add_branch`."""
    if scale is None:
        return x + branch
    return x + scale.to(branch.dtype) * branch
