"""The sum of Multi-scale Deformable Attention (Zhu et al., arXiv 2010.04159, equation 3) over its sampling points.

mmcv's torch path maps every point to [-1, 1] for ``grid_sample``, which maps it back, and writes the value of every
single point, (B * heads, C / heads, Q, levels * points), to memory: more than once, and for backward too. Here points
are pixels from the start, the four bilinear weights of a point are folded into its attention weight, and
``embedding_bag`` sums up the weighted rows of the value without writing them out.
"""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from .switch import enabled

Shapes = Sequence[tuple[int, int]]


def sample_levels(
    value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor, im2col_step: int = 64
) -> Tensor:
    """Return the weighted sum of bilinearly interpolated values at points of several levels; outside lie zeros.

    Args:
        value (Tensor): Tokens of all levels, row by row, (B, S, heads, D).
        shapes (Sequence[tuple[int, int]]): (h, w) of each level.
        points (Tensor): (x, y) in pixels of the level, the centre of the first pixel being (0, 0),
            (B, Q, heads, L, points, 2).
        weights (Tensor): Attention weights of the points, (B, Q, heads, L, points).
        im2col_step (int): Images that mmcv's compiled operator handles at a time.

    Returns:
        Tensor: (B, Q, heads * D).
    """
    if not enabled() or torch.compiler.is_exporting():
        return plain_sample_levels(value, shapes, points, weights)
    if has_compiled_operator(value.device):
        return _sample_by_mmcv(value, shapes, points, weights, im2col_step)
    return sample_by_embedding_bag(value, shapes, points, weights)


def plain_sample_levels(value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor) -> Tensor:
    """See :func:`sample_levels`; by mmcv's ``grid_sample``."""
    # mmcv passes a tensor of shapes, of which every number would be read from the device.
    return multi_scale_deformable_attn_pytorch(value, shapes, _locations(shapes, points), weights)


def _locations(shapes: Shapes, points: Tensor) -> Tensor:
    """Return pixels as fractions of their level, which mmcv's functions expect."""
    sizes = widths_and_heights(points.device, shapes)
    return (points + 0.5) / sizes[:, None]


@lru_cache
def has_compiled_operator(device: torch.device) -> bool:
    """Return whether mmcv's operator works on this device.

    It is tried once: a build without it fails only when called, and one for another GPU only prints that it failed.

    Raises:
        torch.OutOfMemoryError: The device has no memory left; this tells nothing of the operator.
    """
    with torch.no_grad():
        shapes = [(2, 2)]
        value = torch.arange(8.0, device=device)
        value = value.view(1, 4, 2, 1)  # 2 x 2 pixels, 2 heads
        weights = torch.ones(1, 1, 2, 1, 1, device=device)
        points = torch.full((*weights.shape, 2), 0.5, device=device)
        try:
            sampled = _sample_by_mmcv(value, shapes, points, weights, 1)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return False
        return torch.allclose(sampled, plain_sample_levels(value, shapes, points, weights))


def _sample_by_mmcv(
    value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor, im2col_step: int
) -> Tensor:
    """See :func:`sample_levels`; by mmcv's compiled operator."""
    starts = [0]
    for h, w in shapes[:-1]:
        starts.append(starts[-1] + h * w)
    if len(value) > im2col_step:
        # The operator wants steps that divide the batch.
        im2col_step = math.gcd(len(value), im2col_step)
    return MultiScaleDeformableAttnFunction.apply(
        value,
        on_device(value.device, tuple(shapes)),
        on_device(value.device, tuple(starts)),
        _locations(shapes, points),
        weights,
        im2col_step,
    )


def sample_by_embedding_bag(
    value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor
) -> Tensor:
    """See :func:`sample_levels`. Images are sampled one by one, so that working memory does not grow with the batch."""
    if any(min(shape) < 2 for shape in shapes):
        value, shapes = _pad_to_two_pixels(value, shapes)
    num_heads, _, num_points = points.shape[2:5]
    grid = _make_grid(shapes, num_heads, num_points, value.device)
    points = points.flatten(2, 4)
    weights = weights.flatten(2)
    outputs = []
    for image in zip(value, points, weights):
        outputs.append(_Sampling.apply(*image, grid, shapes))
    return torch.stack(outputs)


def _pad_to_two_pixels(value: Tensor, shapes: Shapes) -> tuple[Tensor, Shapes]:
    """Add a row or column of zeros to levels that have only one, so that every cell has four pixels."""
    levels = value.split([h * w for h, w in shapes], 1)
    padded_levels = []
    padded_shapes = []
    for level, (h, w) in zip(levels, shapes):
        padded_h = max(h, 2)
        padded_w = max(w, 2)
        padding = (0, 0, 0, 0, 0, padded_w - w, 0, padded_h - h)  # of D, heads, x and y
        level = F.pad(level.unflatten(1, (h, w)), padding)
        padded_levels.append(level.flatten(1, 2))
        padded_shapes.append((padded_h, padded_w))
    return torch.cat(padded_levels, 1), padded_shapes


def _make_grid(shapes: Shapes, num_heads: int, num_points: int, device: torch.device) -> Tensor:
    """Return where a point's cell may be, for each point of a query, int32, (4, N) with N = heads * L * points.

    The rows are: the last x and y of a cell in the point's level, the number of table rows from one pixel to that
    below it, and the table row of the level's first pixel for the point's head (:class:`_Sampling`).
    """
    columns = []
    start = 0
    for h, w in shapes:
        column = (w - 2, h - 2, w * num_heads, start * num_heads)
        columns += [column] * num_points
        start += h * w
    last_x, last_y, row_stride, first_row = on_device(device, tuple(columns)).repeat(num_heads, 1).T
    head = torch.arange(num_heads, device=device).repeat_interleave(len(columns))
    return torch.stack([last_x, last_y, row_stride, first_row + head]).int()


class _Sampling(Function):
    """:func:`sample_levels` of one image, which keeps nothing but its inputs for the backward pass.

    The value is a table of S * heads rows of D numbers: row s * heads + h is token s of head h. A point lies in a cell
    of four pixels and reads their rows, each with its share of the point's attention weight::

        upper left o--x-----o upper right        share of the pixel   right     left
                   y  .     |                    upper                x (1-y)   (1-x) (1-y)
                   |..p     |                    lower                x y       (1-x) y
        lower left o--------o lower right

    Of the cell only the row of the upper left pixel is kept; the others are ``heads`` (one pixel to the right) and
    ``row_stride`` (one pixel down) further on. Example: one head, one level of 2 x 3 pixels, so that rows are pixels::

        0 1 2      The point (1.25, 0.5) has cell 1, x = 0.25, y = 0.5:
        3 4 5      rows 1, 2, 4, 5 with shares 0.375, 0.125, 0.375, 0.125.

    A point beyond the border is given the nearest cell. There x or y is outside [0, 1], and pixels that it does not
    touch have the share 0.

    Forward sums, for each query, the rows that its points read: a bag of rows per query. Backward needs the same sum
    the other way round, for each row the gradients of the queries that read it: a bag of queries per row. The bags are
    found by sorting points by their cell. Example: three queries with one point each, in cells 4, 1 and 4::

        sorted cells    1  4  4
        points          1  0  2       the order of sorting
        starts          0 0 1 1 1 3   of the bags of rows 0 to 5: row 1 has point 1, row 4 has points 0 and 2

    What a cell gets for its upper left pixel goes to the row of that name, for its upper right pixel to the row
    ``heads`` further on, and so forth: one shifted addition per level.
    """

    @staticmethod
    def forward(
        ctx, value: Tensor, points: Tensor, weights: Tensor, grid: Tensor, shapes: Shapes
    ) -> Tensor:
        """Sum values at points.

        Args:
            ctx: Of torch.
            value (Tensor): (S, heads, D).
            points (Tensor): (Q, N, 2), where N is heads * L * points.
            weights (Tensor): (Q, N).
            grid (Tensor): See :func:`_make_grid`, (4, N).
            shapes (Sequence[tuple[int, int]]): (h, w) of each level.

        Returns:
            Tensor: (Q, heads * D).
        """
        ctx.save_for_backward(value, points, weights, grid)
        ctx.shapes = shapes
        heads, width = value.shape[1:]
        num_bags = len(weights) * heads
        table = value.reshape(-1, width)
        cell, x, y = _find_cells(points, grid, heads)
        row_stride = grid[2]
        output = value.new_zeros(num_bags, width)
        for down, share_y in zip((0, row_stride), _pixel_shares(y)):
            for right, share_x in zip((0, heads), _pixel_shares(x)):
                rows = cell + (down + right)
                shares = share_x * share_y * weights
                output += _weighted_sums(table, rows.view(num_bags, -1), shares.view(num_bags, -1))
        return output.view(len(weights), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of value, points and weights."""
        value, points, weights, grid = ctx.saved_tensors
        heads, width = value.shape[1:]
        num_bags = len(weights) * heads
        table = value.reshape(-1, width)
        grad = grad.reshape(num_bags, width)
        cell, x, y = _find_cells(points, grid, heads)
        row_stride = grid[2]

        sorted_cells, order = cell.flatten().sort()
        every_row = torch.arange(len(table), dtype=cell.dtype, device=cell.device)
        starts = torch.searchsorted(sorted_cells, every_row, out_int32=True)
        # Points of a query and head lie side by side: from the place of a point to that of its gradient.
        queries = (order * heads).floor_divide_(weights.shape[1]).int()

        grad_value = torch.zeros_like(table)
        grad_x = torch.zeros_like(weights)
        grad_y = torch.zeros_like(weights)
        grad_weights = torch.zeros_like(weights)
        for down, share_y, slope_y in zip((0, 1), _pixel_shares(y), _pixel_slopes(y)):
            # Of the two pixels side by side: sums of dots, weighted by their shares and by the slopes of these.
            by_shares = torch.zeros_like(weights)
            by_slopes = torch.zeros_like(weights)
            for right, share_x, slope_x in zip((0, 1), _pixel_shares(x), _pixel_slopes(x)):
                rows = cell + (row_stride * down + heads * right)
                dots = _row_dots(grad, table, rows.view(num_bags, -1)).view_as(weights)
                by_shares.addcmul_(dots, share_x)
                by_slopes.addcmul_(dots, slope_x)
                shares = (share_x * share_y).mul_(weights)
                sorted_shares = shares.flatten().index_select(0, order)
                grad_cells = F.embedding_bag(
                    queries, grad, starts, mode='sum', per_sample_weights=sorted_shares
                )
                _add_to_pixels(grad_value, grad_cells, ctx.shapes, heads, down, right)
            grad_weights.addcmul_(by_shares, share_y)
            grad_y.addcmul_(by_shares, slope_y)
            grad_x.addcmul_(by_slopes, share_y)
        grad_points = torch.stack([grad_x, grad_y], -1).mul_(weights[..., None])
        return grad_value.view_as(value), grad_points, grad_weights, None, None


def _find_cells(points: Tensor, grid: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the table row of each point's upper left pixel, int32, and the point's x and y within the cell, (Q, N).

    x and y are in [0, 1) unless the point is at or beyond the border.
    """
    x, y = points.unbind(-1)
    last_x, last_y, row_stride, first_row = grid
    # Limited as integers: whatever a NaN becomes, it is a row that exists.
    left = x.floor().int().clamp_(min=0).minimum(last_x)
    top = y.floor().int().clamp_(min=0).minimum(last_y)
    cell = (top * row_stride).add_(left, alpha=heads).add_(first_row)
    return cell, x - left, y - top


def _pixel_shares(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bilinear weights, along one axis, of the pixels at 0 and 1: one less their distance, if positive."""
    at_zero = (1 - x.abs()).clamp_(min=0)
    at_one = (1 - (x - 1).abs_()).clamp_(min=0)
    return at_zero, at_one


def _pixel_slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of :func:`_pixel_shares`; on a pixel, where untrained points often lie, to its right."""
    pixel = x.floor()
    before = pixel.eq(-1).type_as(x)
    within = pixel.eq(0).type_as(x)
    behind = pixel.eq(1).type_as(x)
    return before - within, within - behind


def _weighted_sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of the rows ``rows[i]`` of a table for each i, (len(rows), D)."""
    return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)


def _row_dots(left: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """Return the scalar products of each row i of ``left`` with the rows ``rows[i]`` of a table, all in one row."""
    if left.device.type == 'cpu':  # twice as fast as below
        ends = torch.arange(0, rows.numel() + 1, rows.shape[1], dtype=rows.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Sparse CSR tensor support is in beta')
            pairs = torch.sparse_csr_tensor(
                ends,
                rows.flatten(),
                left.new_zeros(rows.numel()),
                size=(len(left), len(table)),
                check_invariants=False,
            )
        return torch.sparse.sampled_addmm(pairs, left, table.T, beta=0.0).values()
    with torch.enable_grad():
        ones = left.new_ones(rows.shape).requires_grad_()
        return torch.autograd.grad(_weighted_sums(table, rows, ones), ones, left)[0]


def _add_to_pixels(
    grad_value: Tensor, grad_cells: Tensor, shapes: Shapes, heads: int, down: int, right: int
) -> None:
    """Add what each cell has for one of its pixels to that pixel's row, in place.

    Args:
        grad_value (Tensor): (S * heads, D).
        grad_cells (Tensor): By the row of the cell's upper left pixel, (S * heads, D).
        shapes (Sequence[tuple[int, int]]): (h, w) of each level.
        heads (int): Rows of a pixel.
        down (int): 1 for the lower pixels of a cell, else 0.
        right (int): 1 for the right pixels of a cell, else 0.
    """
    start = 0
    for h, w in shapes:
        end = start + h * w * heads
        shift = (down * w + right) * heads
        grad_value[start + shift : end] += grad_cells[start : end - shift]
        start = end


def widths_and_heights(device: torch.device, shapes: Shapes) -> Tensor:
    """Return (w, h) of each level, int64, (L, 2)."""
    if torch.compiler.is_exporting():
        sizes = [torch.full((), side, device=device) for h, w in shapes for side in (w, h)]
        return torch.stack(sizes).view(-1, 2)
    return on_device(device, tuple((w, h) for h, w in shapes))


@lru_cache(maxsize=256)
def on_device(device: torch.device, numbers: tuple) -> Tensor:
    """Return a constant int64 tensor, copied without waiting for the device.

    All layers of a step ask for the same few numbers, and so do steps whose maps are equally large: they are kept.
    """
    # Not a tensor of inference mode, which autograd would refuse in a later training step.
    with torch.inference_mode(False):
        tensor = torch.tensor(numbers)
        if device.type == 'cuda':
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)
