"""From masks that overlap to a map in which each pixel belongs to one segment."""

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from torch import Tensor

from .image_sizes import ImageSizes

# Segments of at most so many pixels are removed.
SMALL_AREA = 4


def panoptic_map(
    logits: Tensor,
    labels: Tensor,
    num_things: int,
    void: int,
    sizes: ImageSizes,
    chunk_size: int = 25,
) -> Tensor:
    """Give each pixel to the mask with the highest logit there, as the authors of DETR do (section 4.4).

    Masks of the same stuff class become one segment. Segments of at most 4 pixels are removed, and their pixels given
    to the masks that remain, until none is so small. In the authors' code, and so here, a mask that was merged into
    another one counts as removed too: once anything is removed, its pixels go to whichever mask is best there.

    Args:
        logits (Tensor): Mask logits of the queries whose score is high enough, (N, h, w), for the padded input.
        labels (Tensor): Their classes; things come before stuff, (N, ).
        num_things (int): Number of classes of things.
        void (int): What pixels become if there is no mask at all: the number of all classes, by mmdet's convention.
        sizes (ImageSizes): The sizes of the image.
        chunk_size (int): Masks that are upsampled at once, which bounds the memory.

    Returns:
        Tensor: ``class + INSTANCE_OFFSET * instance``, int32, (H, W); instances of things count from 1, stuff has 0.

    Example:
        Three masks of a row of 8 pixels, of the classes grass, person and grass; the best mask of each pixel::

            best     0 0 0 1 1 1 2 2
            merged   0 0 0 1 1 1 0 0      mask 2 is grass like mask 0
    """
    merged_into = None
    while len(labels):
        best = _best_mask(logits, sizes, chunk_size)
        if merged_into is None:  # only once, as by the authors
            merged_into = _first_of_each_stuff(labels, num_things)
            best = merged_into[best]
        best = _resize(best, sizes)
        area = best.flatten().bincount(minlength=len(labels))
        is_kept = area > SMALL_AREA
        if is_kept.all():
            return _segment_ids(labels, num_things)[best]
        logits = logits[is_kept]
        labels = labels[is_kept]
    return labels.new_full(sizes.result, void, dtype=torch.int32)


def _first_of_each_stuff(labels: Tensor, num_things: int) -> Tensor:
    """The mask that each mask is merged into: of stuff the first of its class, of things itself; (N, )."""
    is_same_stuff = (labels[:, None] == labels) & (labels >= num_things)
    is_same_stuff.fill_diagonal_(True)
    return is_same_stuff.byte().argmax(1)


def _best_mask(logits: Tensor, sizes: ImageSizes, chunk_size: int) -> Tensor:
    """The index of the mask with the highest logit at each pixel of the image, (H, W)."""
    highest, best = sizes.upsample(logits[:chunk_size]).max(0)
    for start in range(chunk_size, len(logits), chunk_size):
        chunk = logits[start : start + chunk_size]
        chunk_highest, chunk_best = sizes.upsample(chunk).max(0)
        is_higher = chunk_highest > highest
        best = torch.where(is_higher, chunk_best + start, best)
        highest = torch.maximum(highest, chunk_highest)
    return best


def _resize(index: Tensor, sizes: ImageSizes) -> Tensor:
    """Resize a map of indices to the size of the result, as Pillow does without interpolation."""
    height, width = sizes.result
    rows = _nearest(index.shape[0], height).to(index.device, non_blocking=True)
    columns = _nearest(index.shape[1], width).to(index.device, non_blocking=True)
    return index[rows][:, columns]


def _nearest(length: int, new_length: int) -> Tensor:
    """The pixel that each pixel of a resized line shows the centre of, long, (new_length, ).

    Steps are added up in double precision, so that a centre on the border of two pixels falls on the same side as in
    Pillow; ``nearest-exact`` of torch multiplies.
    """
    steps = torch.full((new_length,), length / new_length, dtype=torch.float64)
    steps[0] /= 2
    return steps.cumsum(0).long().clamp(max=length - 1)


def _segment_ids(labels: Tensor, num_things: int) -> Tensor:
    """The id of each mask's segment, int32, (N, )."""
    is_thing = labels < num_things
    instance = is_thing.cumsum(0) * is_thing
    return (labels + INSTANCE_OFFSET * instance).int()
