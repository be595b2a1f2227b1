"""What a benchmark may be asked for."""
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

DTYPES = {'float32': torch.float32, 'bf16': torch.bfloat16}


@dataclass
class Options:
    """Settings of one run; None means the row's own value.

    Attributes:
        repeats (int): Timed runs of each contender of a case.
        device (str): 'cpu' or 'cuda'.
        dtype (str): 'float32', or 'bf16' for automatic mixed precision.
        batch_size (int, optional): Images in a batch.
        size (tuple[int, int], optional): Height and width of the images.
        seed (int): Of weights and inputs.
        model (dict): Changes of both sides' ``model`` config, e.g. ``{'num_queries': 20}`` for a quick try. Peers that
            cannot follow them are left out.
    """
    repeats: int = 10
    device: str = 'cpu'
    dtype: str = 'float32'
    batch_size: int | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    model: dict = field(default_factory=dict)

    def precision(self):
        """The context in which all contenders compute."""
        if self.dtype == 'float32':
            return nullcontext()
        return torch.autocast(self.device, dtype=DTYPES[self.dtype])
