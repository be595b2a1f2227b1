"""The options of a benchmark run."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

DTYPES = {'float32': torch.float32, 'bf16': torch.bfloat16, 'float16': torch.float16}


@dataclass
class Options:
    """Options of one run; None means the row's own value.

    Attributes:
        repeats (int): Timed runs of each contender of a case.
        device (str): 'cpu' or 'cuda'.
        dtype (str): 'float32', or 'bf16' and 'float16' for automatic mixed precision.
        batch_size (int, optional): Images per batch.
        size (tuple[int, int], optional): Height and width of the images.
        seed (int): Seed of weights and inputs.
        model (dict): Changes of the ``model`` config on both sides, e.g. ``{'num_queries': 20}`` for a quick try. Peers
            that cannot follow them are left out.
    """

    repeats: int = 10
    device: str = 'cpu'
    dtype: str = 'float32'
    batch_size: int | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    model: dict = field(default_factory=dict)

    @property
    def torch_dtype(self) -> torch.dtype:
        """torch.dtype: The dtype of that name."""
        return DTYPES[self.dtype]

    def precision(self) -> AbstractContextManager:
        """Return the context in which all contenders compute."""
        if self.dtype == 'float32':
            return nullcontext()
        return torch.autocast(self.device, dtype=self.torch_dtype)
