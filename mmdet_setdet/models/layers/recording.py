"""What an attention layer looks at, for who asks: the fused kernels keep no weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# The lists of all who record the layer that runs.
_open: list[list] = []


@contextmanager
def recording(attention: nn.Module) -> Iterator[list]:
    """Record what an attention layer looks at whenever it runs within this context.

    Args:
        attention (nn.Module): One of this package's.

    Yields:
        list: It grows with each run. Plain and row-column attention note the weight of each token, (B, heads, Q, S),
        zero on padding; :class:`LevelAttention` notes the share of each level, (B, Q, L), and then such weights of each
        level; deformable attention notes :class:`SamplingPoints`.
    """
    notes = []
    hooks = [
        attention.register_forward_pre_hook(lambda *_: _open.append(notes)),
        attention.register_forward_hook(_close, always_call=True),
    ]
    try:
        yield notes
    finally:
        for hook in hooks:
            hook.remove()


def record(compute: Callable, *args: Any) -> None:
    """Note ``compute(*args)``, if the layer that runs is recorded; otherwise it costs nothing."""
    for notes in _open:
        notes.append(compute(*args))


def _close(*_: Any) -> None:
    _open.pop()
