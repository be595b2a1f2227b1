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
    def from_maps(
        cls,
        maps: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]] | Tensor | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> 'FeatureLevels':
        """Find out what is padding in feature maps, by nearest-neighbour reduction as in DETR; without a device sync.

        For example an image 6 pixels wide in a batch 8 pixels wide, on a map with 4 columns: 0 0 0 0 0 0 1 1 are the
        columns of pixels, every second one is 0 0 0 1; so one column of the map is padding and the valid ratio is 3/4.

        Args:
            maps (Sequence[Tensor]): Feature maps, each (B, C, h, w).
            image_sizes (Sequence[tuple[int, int]] | Tensor, optional): Height and width of each image without padding.
                None: nothing is padded. A tensor, (B, 2), is not read by the host: any image may be padded.
            input_size (tuple[int, int], optional): Height and width of the padded batch.
        """
        device = maps[0].device
        shapes = [tuple(x.shape[-2:]) for x in maps]
        if image_sizes is None or _nothing_padded(image_sizes, input_size):
            ratios = torch.ones(maps[0].shape[0], len(maps), 2, device=device)
            return cls(shapes, [None] * len(maps), ratios)

        height, width = input_size
        sizes = image_sizes if torch.is_tensor(image_sizes) else torch.tensor(image_sizes)
        sizes = sizes.to(device, non_blocking=True)
        image_heights, image_widths = sizes.unbind(1)
        padded_rows = _padded_lines(height, image_heights)
        padded_columns = _padded_lines(width, image_widths)
        masks, ratios = [], []
        for map_height, map_width in shapes:
            rows = F.interpolate(padded_rows, size=map_height)[:, 0]
            columns = F.interpolate(padded_columns, size=map_width)[:, 0]
            masks.append(rows[:, :, None].bool() | columns[:, None, :].bool())
            valid_width, valid_height = 1 - columns.mean(1), 1 - rows.mean(1)
            ratios.append(torch.stack([valid_width, valid_height], 1))
        return cls(shapes, masks, torch.stack(ratios, 1))

    @property
    def padding(self) -> Tensor | None:
        """Tensor | None: True where a token is padding, (B, S); None where no image is padded."""
        if self.masks[0] is None:
            return None
        return torch.cat([mask.flatten(1) for mask in self.masks], 1)

    @staticmethod
    def flatten(maps: Sequence[Tensor]) -> Tensor:
        """Flatten maps, each (B, C, h, w), to tokens, level after level and row after row: (B, S, C)."""
        tokens = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps]
        return torch.cat(tokens, 1)

    def split(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Split a tensor of all tokens, (B, S, ...), by level."""
        return tokens.split([height * width for height, width in self.shapes], 1)

    def centres(self) -> Tensor:
        """The centre of each token's cell, (x, y) in [0, 1] of the image without its padding, (B, S, 2).

        They are beyond 1 where a cell is padding.
        """
        device = self.valid_ratios.device
        centres = []
        for (height, width), ratios in zip(self.shapes, self.valid_ratios.unbind(1)):
            y = torch.arange(height, device=device) + 0.5
            x = torch.arange(width, device=device) + 0.5
            y, x = torch.meshgrid(y, x, indexing='ij')
            grid = torch.stack([x, y], -1).flatten(0, 1)
            size = torch.stack([ratios[:, 0] * width, ratios[:, 1] * height], -1)
            # Whole cells, so that a centre on a limit is on it exactly.
            centres.append(grid / size.round()[:, None])
        return torch.cat(centres, 1)

    def reference_points(self) -> Tensor:
        """Where each token's cell lies on every level, (x, y) in [0, 1] of the map with its padding, (B, S, L, 2)."""
        return self.on_levels(self.centres())

    def on_levels(self, references: Tensor) -> Tensor:
        """Convert points or boxes in [0, 1] of the image to [0, 1] of every map with its padding.

        Args:
            references (Tensor): (x, y) or (cx, cy, w, h), (B, N, 2 or 4).

        Returns:
            Tensor: (B, N, L, 2 or 4).
        """
        ratios = self.valid_ratios.repeat(1, 1, references.shape[-1] // 2)
        return references[:, :, None] * ratios[:, None]

    def cell_boxes(self) -> Tensor:
        """A box (cx, cy, w, h) in [0, 1] of the image around each token's cell, (B, S, 4).

        Its sides are 0.05 on the first level and twice as long on each next one (Deformable DETR, appendix A.4).
        """
        centres = self.centres()
        sides = [
            torch.full((height * width,), 0.05 * 2**level, device=centres.device)
            for level, (height, width) in enumerate(self.shapes)
        ]
        sides = torch.cat(sides)[:, None].expand_as(centres)
        return torch.cat([centres, sides], -1)


def _nothing_padded(
    image_sizes: Sequence[tuple[int, int]] | Tensor, input_size: tuple[int, int]
) -> bool:
    if isinstance(image_sizes, Tensor):
        return False
    return all(tuple(size) == tuple(input_size) for size in image_sizes)


def _padded_lines(length: int, image_lengths: Tensor) -> Tensor:
    """1. for each row (or column) of the batch that is padding in an image, (B, 1, length)."""
    lines = torch.arange(length, device=image_lengths.device)
    return (lines >= image_lengths[:, None])[:, None].float()
