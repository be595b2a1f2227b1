"""Which tokens attend to each other: groups of short and of long distance attention on maps of any size.

The tokens of a batch, (T, C), are kept in the order of their groups: those that attend to each other lie side by side,
and so do groups of equal shape. Where a map ends groups are smaller, so that there is neither padding nor a mask.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Differences of positions, and the index of the difference of each pair of tokens.
RelativePositions = tuple[Tensor, Tensor]


def axis_groups(
    length: int, size: int, interval: int = 1, shift: int = 0, device: torch.device | str = 'cpu'
) -> list[Tensor]:
    """Divide positions 0 ... length - 1 into groups of G positions that lie I apart (arXiv 2108.00154, section 3.2).

    A span of G * I positions holds I groups. The positions after the last full span are divided in the same way, into
    groups of fewer positions. 7 positions, groups of G = 2, one letter per group::

        short distance, I = 1     0 1 2 3 4 5 6        long distance, I = 2     0 1 2 3 4 5 6
                                  a a b b c c d                                 a b a b c d c
                                  full: aa bb cc                                full: aa bb
                                  rest: d                                       rest: cc, d

    Args:
        length (int): Positions along the axis.
        size (int): G.
        interval (int): I.
        shift (int): So many positions at the beginning form a group of their own, as in Swin's shifted windows.
        device (torch.device | str): Device of the result.

    Returns:
        list[Tensor]: Positions (groups, members); groups of equal size are one tensor.
    """
    positions = torch.arange(length, device=device)
    shifted = positions[None, :shift]
    span = size * interval
    num_spans = (length - shift) // span
    end = shift + num_spans * span
    full = positions[shift:end].view(-1, size, interval)
    full = full.transpose(1, 2).reshape(-1, size)

    # Of the rest each group has every I-th position; the first ``num_longer`` of the groups have one more.
    rest = positions[end:]
    members, num_longer = divmod(len(rest), interval)
    rest = F.pad(rest, (0, -len(rest) % interval))
    rest = rest.view(-1, interval).T
    longer = rest[:num_longer]
    shorter = rest[num_longer:, :members]
    candidates = (shifted, full, longer, shorter)
    return [groups for groups in candidates if groups.numel()]


class Groups:
    """Groups of the tokens of B maps of H x W.

    Args:
        images (int): B.
        rows (list[Tensor]): Groups of the rows of a map, see :func:`axis_groups`.
        columns (list[Tensor]): Groups of its columns. A group of rows and one of columns make a group of tokens.

    Attributes:
        order (Tensor): Number of the token, counted image by image and row by row, at each place, (T, ).
        inverse (Tensor): The place of each token, (T, ).
        shapes (list[tuple[int, int, int]]): Number of groups, their rows and their columns, in the order of the places.
        images (int): B.
    """

    def __init__(self, images: int, rows: list[Tensor], columns: list[Tensor]) -> None:
        height = sum(groups.numel() for groups in rows)
        width = sum(groups.numel() for groups in columns)
        image = torch.arange(images, device=rows[0].device)
        first_token = (image * height * width).view(-1, 1, 1, 1, 1)
        order = []
        self.shapes = []
        self.images = images
        for row in rows:
            for column in columns:
                # (row groups, column groups, rows of a group, columns of a group)
                token = row[:, None, :, None] * width + column[:, None, :]
                order.append((first_token + token).flatten())
                count = images * len(row) * len(column)
                self.shapes.append((count, row.shape[1], column.shape[1]))
        self.order = torch.cat(order)
        # Unlike len(), a shape may be a symbol when the model is exported.
        places = torch.arange(self.order.shape[0], device=self.order.device)
        self.inverse = torch.empty_like(self.order).scatter_(0, self.order, places)

    @classmethod
    def of_map(
        cls,
        shape: tuple[int, int, int],
        size: int,
        interval: int = 1,
        shift: int = 0,
        device: torch.device | str = 'cpu',
    ) -> 'Groups':
        """Make groups of ``size`` x ``size`` tokens on (B, H, W) maps, see :func:`axis_groups`."""
        images, height, width = shape
        rows = axis_groups(height, size, interval, shift, device)
        columns = axis_groups(width, size, interval, shift, device)
        return cls(images, rows, columns)

    @property
    def largest(self) -> tuple[int, int]:
        """The most rows and the most columns of any group."""
        _, rows, columns = zip(*self.shapes)
        return max(rows), max(columns)

    def arrange(self, tokens: Tensor, current: 'Groups | None' = None) -> Tensor:
        """Bring tokens from the order of other groups, or from that of the map (None), into this one, (T, C)."""
        if current is self:
            return tokens
        order = self.order
        if current is not None:
            order = current.inverse[order]
        return tokens.index_select(0, order)

    def restore(self, tokens: Tensor) -> Tensor:
        """Bring tokens from the order of these groups into that of the map, (T, C)."""
        return tokens.index_select(0, self.inverse)

    def chunks(self, max_tokens: int | None = None) -> Iterator[list[tuple[int, int, int, int]]]:
        """Cut the tokens between groups.

        Args:
            max_tokens (int, optional): Of a chunk, which has one group at least, and groups of one shape only. None:
                one chunk for all.

        Yields:
            list[tuple[int, int, int, int]]: Parts of the chunk: index of their shape in ``shapes``, number of groups,
            their rows and their columns.
        """
        parts = [(index, *shape) for index, shape in enumerate(self.shapes)]
        if max_tokens is None:
            yield parts
            return
        for index, count, rows, columns in parts:
            at_a_time = max(max_tokens // (rows * columns), 1)
            for start in range(0, count, at_a_time):
                yield [(index, min(at_a_time, count - start), rows, columns)]

    def drop_path_scale(self, rate: float) -> Tensor:
        """Draw the factor of a residual branch in training, one per image: 0, or 1 / (1 - rate); (T, 1)."""
        noise = torch.rand(self.images, 1, device=self.order.device)
        scale = noise.ge(rate).float().div(1 - rate)
        image = self.order * self.images // len(self.order)
        return scale.index_select(0, image)


def relative_positions(
    rows: int, columns: int, device: torch.device | None = None
) -> RelativePositions:
    """Return how far the tokens of a group of rows x columns = N tokens are apart.

    Returns:
        tuple[Tensor, Tensor]: All differences (rows, columns) of two positions, (P, 2) with P = (2 rows - 1) *
        (2 columns - 1); index of the difference of each pair of tokens, (N, N).
    """
    rows_apart = torch.arange(1 - rows, rows, device=device)
    columns_apart = torch.arange(1 - columns, columns, device=device)
    differences = torch.cartesian_prod(rows_apart, columns_apart).float()
    # Differences are listed row by row, so that the index of a difference is the difference of such numbers.
    row = torch.arange(rows, device=device)[:, None]
    column = torch.arange(columns, device=device)
    number = (row * (2 * columns - 1) + column).flatten()
    zero = len(differences) // 2
    return differences, number[:, None] - number + zero
