"""The feature maps behind a sequence of tokens."""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class FeatureLevels:
    """Feature maps of B images whose cells, map after map and row after row, are S tokens.

    Attributes:
        shapes (list[tuple[int, int]]): Height and width of each of the L maps, known to the host.
        masks (list[Tensor | None]): True where a cell shows padding only, (B, h, w); None where no image is padded.
        valid_ratios (Tensor): Width and height of the image as a share of each map's, (B, L, 2).
    """
    shapes: list[tuple[int, int]]
    masks: list[Tensor | None]
    valid_ratios: Tensor

    @classmethod
    def from_maps(cls,
                  maps: tuple[Tensor],
                  image_sizes: list[tuple[int, int]] | None = None,
                  input_size: tuple[int, int] | None = None) -> 'FeatureLevels':
        """What is padding in feature maps, by nearest-neighbour reduction as in DETR; without a device sync.

        Args:
            maps (tuple[Tensor]): Feature maps, each (B, C, h, w).
            image_sizes (list[tuple[int, int]], optional): Height and width of each image without padding. None:
                nothing is padded.
            input_size (tuple[int, int], optional): Height and width of the padded batch.
        """
        shapes, device = [tuple(x.shape[-2:]) for x in maps], maps[0].device
        if image_sizes is None or all(tuple(size) == tuple(input_size) for size in image_sizes):
            return cls(shapes, [None] * len(maps), maps[0].new_ones(len(maps[0]), len(maps), 2, dtype=torch.float))
        sizes = torch.tensor(image_sizes).to(device, non_blocking=True).unbind(1)
        outside = [(torch.arange(full, device=device) >= size[:, None])[:, None].float()
                   for full, size in zip(input_size, sizes)]
        masks, ratios = [], []
        for shape in shapes:
            rows, cols = (F.interpolate(lines, size=small)[:, 0] for lines, small in zip(outside, shape))
            masks.append(rows[:, :, None].bool() | cols[:, None, :].bool())
            ratios.append(torch.stack([(1 - cols).mean(1), (1 - rows).mean(1)], 1))
        return cls(shapes, masks, torch.stack(ratios, 1))

    @property
    def padding(self) -> Tensor | None:
        """Tensor | None: True where a token is padding, (B, S); None where no image is padded."""
        return None if self.masks[0] is None else torch.cat([mask.flatten(1) for mask in self.masks], 1)

    @staticmethod
    def flatten(maps: Sequence[Tensor]) -> Tensor:
        """Flatten maps, each (B, C, h, w), to tokens, level after level and row after row: (B, S, C)."""
        tokens = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps]
        return torch.cat(tokens, 1)

    def split(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Something about each token, (B, S, ...), by level."""
        return tokens.split([height * width for height, width in self.shapes], 1)

    def reference_points(self) -> Tensor:
        """Where the cell of each token lies on every level, (x, y) in [0, 1] of the map with its padding, (B, S, L, 2).
        """
        centres = []
        for (height, width), ratios in zip(self.shapes, self.valid_ratios.unbind(1)):
            x, y = ((torch.arange(size, device=ratios.device) + 0.5) / size for size in (width, height))
            grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).flatten(0, 1)
            centres.append(grid / ratios[:, None])  # in [0, 1] of the image, which is the same on all levels
        return torch.cat(centres, 1)[:, :, None] * self.valid_ratios[:, None]
