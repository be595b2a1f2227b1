"""Multi-scale deformable attention (Zhu et al., arXiv 2010.04159): mmcv's module for any device."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from torch import Tensor

from ...registry import MODELS
from .fast import sample_levels
from .fast.deformable_sampling import widths_and_heights
from .recording import record

Shapes = Sequence[tuple[int, int]]


class SamplingPoints(NamedTuple):
    """Where deformable attention looks.

    Attributes:
        points (Tensor): (x, y) in [0, 1] of each map with its padding, and beyond, (B, Q, heads, L, points, 2).
        weights (Tensor): Add up to one for each query and head, (B, Q, heads, L, points).
    """

    points: Tensor
    weights: Tensor


@MODELS.register_module()
class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's ``MultiScaleDeformableAttention``, parameter for parameter, with :func:`fast.sample_levels`.

    Points are computed in float32 also under autocast, since a pixel of a large map is less than what half precision
    resolves.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        identity: Tensor | None = None,
        query_pos: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes: Shapes | Tensor | None = None,
        level_start_index: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        """Attend to a few points of each level around each query's reference.

        Args:
            query (Tensor): (B, Q, C), or (Q, B, C) without ``batch_first``; so are ``identity`` and ``query_pos``.
            key (Tensor, optional): Not used; accepted for mmdet's layers.
            value (Tensor, optional): The tokens of all levels, (B, S, C) or (S, B, C). Defaults to the query.
            identity (Tensor, optional): Added to the result. Defaults to the query.
            query_pos (Tensor, optional): Added to the query.
            key_padding_mask (Tensor, optional): Bool, True where a token is padding, (B, S).
            reference_points (Tensor): (x, y) or (cx, cy, w, h) on each level, as fractions of the padded level,
                (B, Q, L, 2 or 4).
            spatial_shapes (Sequence[tuple[int, int]] | Tensor): (h, w) of each level. A tensor on a device is copied
                to the host, which costs a sync.
            level_start_index (Tensor, optional): Not used; follows from the shapes.

        Returns:
            Tensor: Of the query's shape.

        Raises:
            ValueError: Shapes do not fit the tokens or the number of levels, or the references have neither 2 nor 4
                numbers.
        """
        if value is None:
            value = query
        if identity is None:
            identity = query
        if query_pos is not None:
            query = query + query_pos
        if not self.batch_first:
            query = query.transpose(0, 1)
            value = value.transpose(0, 1)
        if isinstance(spatial_shapes, Tensor):
            spatial_shapes = spatial_shapes.tolist()
        shapes = spatial_shapes
        if (
            not torch.compiler.is_exporting()
        ):  # there sizes are symbols, which must not become numbers
            shapes = [(int(h), int(w)) for h, w in spatial_shapes]
            self._check(shapes, value.shape[1], reference_points.shape[-1])

        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask[..., None], 0.0)
        value = self._split_heads(value)
        weights = self._split_heads(self.attention_weights(query)).softmax(-1)
        offsets = self._split_heads(self.sampling_offsets(query))
        sampled = self._sample(value, shapes, offsets, weights, reference_points)
        output = self.output_proj(sampled)
        if not self.batch_first:
            output = output.transpose(0, 1)
        return self.dropout(output) + identity

    def _check(self, shapes: Shapes, num_tokens: int, reference_dims: int) -> None:
        if len(shapes) != self.num_levels:
            name = type(self).__name__
            raise ValueError(
                f'spatial_shapes has {len(shapes)} levels, but num_levels of {name} is {self.num_levels}'
            )
        expected = sum(h * w for h, w in shapes)
        if expected != num_tokens:
            raise ValueError(
                f'spatial_shapes {shapes} make {expected} tokens, but value has {num_tokens}'
            )
        if reference_dims not in (2, 4):
            raise ValueError(
                f'reference_points must be (x, y) or (cx, cy, w, h), got {reference_dims} numbers'
            )

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _sample(
        self, value: Tensor, shapes: Shapes, offsets: Tensor, weights: Tensor, references: Tensor
    ) -> Tensor:
        """Return the weighted sum of the values at the sampling points, (B, Q, heads * D).

        Args:
            value (Tensor): (B, S, heads, D).
            shapes (Sequence[tuple[int, int]]): (h, w) of each level.
            offsets (Tensor): (B, Q, heads, L * points * 2).
            weights (Tensor): (B, Q, heads, L * points).
            references (Tensor): (B, Q, L, 2 or 4).
        """
        dtype = torch.promote_types(value.dtype, torch.float32)
        points = self._points_in_pixels(shapes, offsets.to(dtype), references.to(dtype))
        weights = weights.to(dtype)
        weights = weights.unflatten(-1, (self.num_levels, self.num_points))
        record(_as_shares, points, weights, shapes)
        sampled = sample_levels(value.to(dtype), shapes, points, weights, self.im2col_step)
        return sampled.type_as(value)

    def _points_in_pixels(self, shapes: Shapes, offsets: Tensor, references: Tensor) -> Tensor:
        """Return the sampling points in pixels of their level, (B, Q, heads, L, points, 2).

        Offsets from a point are in pixels, offsets from a box in halves of its sides, shared among the points.
        """
        sizes = widths_and_heights(references.device, shapes)
        sizes = sizes.to(references.dtype)
        centres = references[..., :2] * sizes - 0.5
        if references.shape[-1] == 4:
            units = references[..., 2:] * (0.5 / self.num_points) * sizes
        else:
            units = torch.ones_like(centres)
        # One row for each query, as long as that of its heads: numbers to be repeated in pairs would be added slowly.
        centres = centres.repeat_interleave(self.num_points, 2)
        units = units.repeat_interleave(self.num_points, 2)
        points = torch.addcmul(
            centres.flatten(2)[:, :, None], offsets, units.flatten(2)[:, :, None]
        )
        return points.unflatten(-1, (self.num_levels, self.num_points, 2))


def _as_shares(points: Tensor, weights: Tensor, shapes: Shapes) -> SamplingPoints:
    """Sampling points (B, Q, heads, L, points, 2) in pixels of their levels as shares of their maps."""
    sizes = widths_and_heights(points.device, shapes)
    return SamplingPoints((points + 0.5) / sizes[:, None], weights)
