"""Multi-scale deformable attention (Zhu et al., arXiv 2010.04159): mmcv's module with a lean computation where mmcv's
compiled operator is missing.

mmcv's own torch path maps every sampling point to [-1, 1] for ``grid_sample``, which maps it back, and writes the value
of every single point, (B * heads, C / heads, Q, levels * points), to memory: more than once, and for backward too.
Here the points are pixels from the start, the four bilinear weights of a point are folded into its attention weight,
and ``embedding_bag`` sums the weighted rows of the value up without writing them out.
"""
import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention, MultiScaleDeformableAttnFunction
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ...registry import MODELS

Shapes = Sequence[tuple[int, int]]


@MODELS.register_module()
class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's ``MultiScaleDeformableAttention``, parameter for parameter, for any device.

    Where mmcv was compiled for the device its operator is called, otherwise :func:`sample_levels`. Points are computed
    in float32 also under autocast, since a pixel of a large map is less than what half precision resolves.
    """

    def forward(self,
                query: Tensor,
                key: Tensor | None = None,
                value: Tensor | None = None,
                identity: Tensor | None = None,
                query_pos: Tensor | None = None,
                key_padding_mask: Tensor | None = None,
                reference_points: Tensor | None = None,
                spatial_shapes: Shapes | Tensor | None = None,
                level_start_index: Tensor | None = None,
                **kwargs) -> Tensor:
        """Attends to a few points of each level around each query's reference.

        Args:
            query (Tensor): (B, Q, C), or (Q, B, C) without ``batch_first``; so are ``identity`` and ``query_pos``.
            key (Tensor, optional): Not used; there for mmdet's layers.
            value (Tensor, optional): The tokens of all levels, (B, S, C) or (S, B, C); the query by default.
            identity (Tensor, optional): What the result is added to; the query by default.
            query_pos (Tensor, optional): Added to the query.
            key_padding_mask (Tensor, optional): Bool, True where a token is padding, (B, S).
            reference_points (Tensor): (x, y) or (cx, cy, w, h) on each level, in [0, 1] of it with its padding,
                (B, Q, L, 2 or 4).
            spatial_shapes (Sequence[tuple[int, int]] | Tensor): (h, w) of each level. A tensor on a device is copied
                to the host, which waits for it.
            level_start_index (Tensor, optional): Not used; follows from the shapes.

        Returns:
            Tensor: Of the query's shape.

        Raises:
            ValueError: Shapes do not fit to the tokens or to the number of levels, or the references have neither 2
                nor 4 numbers.
        """
        value = query if value is None else value
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        if not self.batch_first:
            query, value = query.transpose(0, 1), value.transpose(0, 1)
        if isinstance(spatial_shapes, Tensor):
            spatial_shapes = spatial_shapes.tolist()
        shapes = [(int(h), int(w)) for h, w in spatial_shapes]
        self._check(shapes, value.shape[1], reference_points.shape[-1])

        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask[..., None], 0.)
        value = value.unflatten(-1, (self.num_heads, -1))
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        offsets = self.sampling_offsets(query).unflatten(-1, (self.num_heads, -1))
        output = self.output_proj(self._sampled(value, shapes, offsets, weights, reference_points))
        if not self.batch_first:
            output = output.transpose(0, 1)
        return self.dropout(output) + identity

    def _check(self, shapes: Shapes, tokens: int, numbers: int) -> None:
        if len(shapes) != self.num_levels:
            raise ValueError(f'spatial_shapes has {len(shapes)} levels, but num_levels of {type(self).__name__} is '
                             f'{self.num_levels}')
        if sum(h * w for h, w in shapes) != tokens:
            raise ValueError(f'spatial_shapes {shapes} make {sum(h * w for h, w in shapes)} tokens, but value has '
                             f'{tokens}')
        if numbers not in (2, 4):
            raise ValueError(f'reference_points must be (x, y) or (cx, cy, w, h), got {numbers} numbers')

    def _sampled(self, value: Tensor, shapes: Shapes, offsets: Tensor, weights: Tensor, references: Tensor) -> Tensor:
        """The weighted sum of what lies at the points, (B, Q, heads * D).

        Args:
            value (Tensor): (B, S, heads, D).
            shapes (Shapes): Of the levels.
            offsets (Tensor): (B, Q, heads, levels * points * 2).
            weights (Tensor): (B, Q, heads, levels * points).
            references (Tensor): (B, Q, levels, 2 or 4).
        """
        dtype = torch.promote_types(value.dtype, torch.float32)
        values, offsets, weights, references = (x.to(dtype) for x in (value, offsets, weights, references))
        size = _on(value.device, [(w, h) for h, w in shapes]).to(dtype)
        centre = references[..., :2]
        unit = references[..., 2:] * (0.5 / self.num_points) if references.shape[-1] == 4 else 1 / size
        compiled = has_compiled_operator(value.device.type)
        if not compiled:
            centre, unit = centre * size - 0.5, unit * size
        # One row for each query, as long as that of its heads: numbers to be repeated in pairs would be added slowly.
        centre, unit = (x.expand_as(centre).repeat_interleave(self.num_points, 2).flatten(2)[:, :, None]
                        for x in (centre, unit))
        points = torch.addcmul(centre, offsets, unit).unflatten(-1, (self.num_levels, self.num_points, 2))
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        if compiled:
            sampled = _compiled(values, shapes, points, weights, self.im2col_step)
        else:
            sampled = sample_levels(values, shapes, points, weights)
        return sampled.type_as(value)


def sample_levels(value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor) -> Tensor:
    """Sums up what lies at points of several feature maps, bilinearly interpolated and weighted; outside lie zeros.

    Args:
        value (Tensor): Tokens of all levels, row by row, (B, S, heads, D).
        shapes (Sequence[tuple[int, int]]): (h, w) of each level.
        points (Tensor): (x, y) in pixels of the level, the first pixel's centre being (0, 0),
            (B, Q, heads, levels, points, 2).
        weights (Tensor): Of the points, (B, Q, heads, levels, points).

    Returns:
        Tensor: (B, Q, heads * D).
    """
    num_heads, num_points = points.shape[2], points.shape[4]
    if any(min(shape) < 2 for shape in shapes):
        value, shapes = _at_least_two(value, shapes)
    columns, start = [], 0
    for h, w in shapes:
        columns += [(w - 2, h - 2, w * num_heads, start * num_heads)] * num_points
        start += h * w
    x_last, y_last, below, first = _on(value.device, columns).repeat(num_heads, 1).T
    first = first + torch.arange(num_heads, device=value.device).repeat_interleave(len(columns))
    grid = torch.stack([x_last, y_last, below, first]).int()
    # Image by image: what is needed in between does not grow with the batch.
    return torch.stack([
        _Sampling.apply(*image, grid, shapes) for image in zip(value, points.flatten(2, 4), weights.flatten(2))
    ])


class _Sampling(Function):
    """:func:`sample_levels` of one image, which keeps nothing but its inputs for the backward pass.

    The value is a table of S * heads rows. A point's *cell* is the row of its upper left pixel, chosen such that the
    three rows at ``right``, ``below`` and both exist; pixels that the point does not touch get the weight 0.
    """

    @staticmethod
    def forward(ctx, value: Tensor, points: Tensor, weights: Tensor, grid: Tensor, shapes: Shapes) -> Tensor:
        """From value (S, heads, D), points (Q, N, 2), weights (Q, N) to (Q, heads * D), where N is heads * levels *
        points, and grid (4, N) has the last cell's x and y, the rows to the pixel below, and the level's first row."""
        ctx.save_for_backward(value, points, weights, grid)
        ctx.shapes = shapes
        (_, heads, width), (queries, _) = value.shape, weights.shape
        table = value.reshape(-1, width)
        cell, x, y = _cells(points, grid, heads)
        output = value.new_zeros(queries * heads, width)
        for down, by_y in zip((0, grid[2]), _hats(y)):
            for right, by_x in zip((0, heads), _hats(x)):
                rows, share = (i.view(queries * heads, -1) for i in (cell + (down + right), by_x * by_y * weights))
                output += F.embedding_bag(rows, table, mode='sum', per_sample_weights=share)
        return output.view(queries, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        """Gradients in value, points and weights."""
        value, points, weights, grid = ctx.saved_tensors
        (_, heads, width), (queries, _) = value.shape, weights.shape
        table, grad = value.reshape(-1, width), grad.reshape(-1, width)
        cell, x, y = _cells(points, grid, heads)
        # The same sum the other way round: for each cell the points in it.
        order, sources = cell.flatten().sort()
        bounds = torch.searchsorted(order, torch.arange(len(table), dtype=order.dtype, device=order.device),
                                    out_int32=True)
        bags = (sources * heads).floor_divide_(weights.shape[1]).int()
        grad_value = torch.zeros_like(table)
        grad_x, grad_y, grad_weights = (torch.zeros_like(weights) for _ in range(3))
        for lower, by_y, slope_y in zip((False, True), _hats(y), _slopes(y)):
            across, slope_across = torch.zeros_like(weights), torch.zeros_like(weights)
            for right, by_x, slope_x in zip((0, 1), _hats(x), _slopes(x)):
                rows = cell + (grid[2] * lower + right * heads)
                dots = _dots(grad, table, rows.view(queries * heads, -1)).view_as(weights)
                across.addcmul_(dots, by_x)
                slope_across.addcmul_(dots, slope_x)
                share = (by_x * by_y).mul_(weights).flatten().index_select(0, sources)
                by_cell = F.embedding_bag(bags, grad, bounds, mode='sum', per_sample_weights=share)
                start = 0
                for h, w in ctx.shapes:
                    end, shift = (start + h * w) * heads, (lower * w + right) * heads
                    grad_value[start * heads + shift:end] += by_cell[start * heads:end - shift]
                    start += h * w
            grad_weights.addcmul_(across, by_y)
            grad_y.addcmul_(across, slope_y)
            grad_x.addcmul_(slope_across, by_y)
        grad_points = torch.stack([grad_x.mul_(weights), grad_y.mul_(weights)], -1)
        return grad_value.view_as(value), grad_points, grad_weights, None, None


def _cells(points: Tensor, grid: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """The cell of each point, int32, and x and y within it, in [0, 1) unless the point is at or beyond the border."""
    x, y = points.unbind(-1)
    # Limited as integers: whatever a NaN becomes, it is a row that exists.
    left, top = (p.floor().int().clamp_(min=0).minimum(last) for p, last in zip((x, y), grid))
    return (top * grid[2]).add_(left, alpha=heads).add_(grid[3]), x - left, y - top


def _hats(x: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the pixels at 0 and 1: one less the distance, if positive."""
    return tuple((1 - (x - pixel).abs_()).clamp_(min=0) for pixel in (0, 1))


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of :func:`_hats`; on a pixel, where untrained points often lie, those to its right."""
    before, within, behind = (x.floor().eq(cell).type_as(x) for cell in (-1, 0, 1))
    return before - within, within - behind


def _dots(left: Tensor, right: Tensor, index: Tensor) -> Tensor:
    """Scalar products of each row i of left with the rows right[index[i]], (len(left), K)."""
    if left.device.type == 'cpu':  # twice as fast as below
        ends = torch.arange(0, index.numel() + 1, index.shape[1], dtype=index.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Sparse CSR tensor support is in beta')
            wanted = torch.sparse_csr_tensor(ends, index.flatten(), left.new_zeros(index.numel()),
                                             (len(left), len(right)), check_invariants=False)
        return torch.sparse.sampled_addmm(wanted, left, right.T, beta=0.).values()
    with torch.enable_grad():
        ones = left.new_ones(index.shape).requires_grad_()
        sums = F.embedding_bag(index, right, mode='sum', per_sample_weights=ones)
        return torch.autograd.grad(sums, ones, left)[0]


def _at_least_two(value: Tensor, shapes: Shapes) -> tuple[Tensor, Shapes]:
    """Adds rows and columns of zeros where a level has only one."""
    levels = value.split([h * w for h, w in shapes], 1)
    padded = [F.pad(level.unflatten(1, shape), (0, 0, 0, 0, 0, max(2 - shape[1], 0), 0, max(2 - shape[0], 0)))
              for level, shape in zip(levels, shapes)]
    return torch.cat([level.flatten(1, 2) for level in padded], 1), [level.shape[1:3] for level in padded]


@lru_cache
def has_compiled_operator(device_type: str) -> bool:
    """Whether mmcv's operator works on this kind of device ('cpu', 'cuda', ...).

    It is tried, once: a build without it fails only when called, and one for another GPU only prints that it failed.
    """
    with torch.no_grad():
        value = torch.arange(8., device=device_type).view(1, 4, 2, 1)  # 2 x 2 pixels, 2 heads
        points = torch.full((1, 1, 2, 1, 1, 2), 0.25, device=device_type)
        weights = torch.ones(1, 1, 2, 1, 1, device=device_type)
        try:
            found = _compiled(value, [(2, 2)], points + 0.25, weights, 1)
        except RuntimeError:
            return False
        return torch.allclose(found, sample_levels(value, [(2, 2)], points * 2, weights))


def _compiled(value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor, step: int) -> Tensor:
    """mmcv's operator: as :func:`sample_levels`, but for points in [0, 1] of their level."""
    starts = torch.tensor([0] + [h * w for h, w in shapes[:-1]]).cumsum(0).tolist()
    return MultiScaleDeformableAttnFunction.apply(
        value, _on(value.device, shapes), _on(value.device, starts), points, weights, step)


def _on(device: torch.device, numbers: Sequence) -> Tensor:
    """int64, copied without waiting for the device."""
    tensor = torch.tensor(numbers)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == 'cuda' else tensor.to(device)
