"""Panoptic quality (arXiv 1801.00868), equal to that of COCO's panopticapi."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

VOID = 0
# Columns of what is counted per category.
IOU, TP, FP, FN = range(4)


def rgb_to_id(image: np.ndarray) -> np.ndarray:
    """Return the segment ids of COCO's panoptic PNGs, ``R + 256 G + 256^2 B``: (H, W, 3), uint8 -> (H, W), int64."""
    return image.astype(np.int64) @ np.array([1, 256, 256**2])


@dataclass
class Segments:
    """The segments of one image, as arrays of the same length.

    Attributes:
        ids (np.ndarray): The id of each in the map, none of them :data:`VOID`.
        categories (np.ndarray): The index of its category.
        areas (np.ndarray): Its pixels.
        is_crowd (np.ndarray): Whether it covers a crowd, which is neither to be found nor a fault to be found.
    """

    ids: np.ndarray
    categories: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray


def quality_counts(
    gt_map: np.ndarray, gt: Segments, pred_map: np.ndarray, pred: Segments, num_categories: int
) -> np.ndarray:
    """Count what the panoptic quality of an image is computed from.

    A predicted segment and one of the ground truth are a true positive if they have the same category and overlap by
    more than half (IoU, without the unlabelled part of the prediction); there is at most one such pair for each. A
    prediction that lies in unlabelled pixels, or in a crowd of its category, by more than half is not counted.

    Args:
        gt_map (np.ndarray): Segment ids, :data:`VOID` where unlabelled, (H, W).
        gt (Segments): The segments of the ground truth.
        pred_map (np.ndarray): Segment ids, :data:`VOID` where nothing is predicted, (H, W).
        pred (Segments): The predicted segments.
        num_categories (int): Number of categories.

    Returns:
        np.ndarray: Per category the sum of the IoUs of true positives, and the numbers of true positives, false
        positives and false negatives, float64, (num_categories, 4).
    """
    overlap = _overlaps(gt_map, gt.ids, pred_map, pred.ids)
    in_void = overlap[-1]
    overlap = overlap[:-1]
    union = gt.areas[:, None] + pred.areas - overlap - in_void
    is_same = gt.categories[:, None] == pred.categories
    is_comparable = is_same & ~gt.is_crowd[:, None]
    iou = np.where(is_comparable, overlap / union, 0)
    is_match = iou > 0.5

    in_crowd = _overlap_with_crowd(overlap, gt, pred)
    is_ignored = (in_void + in_crowd) / pred.areas > 0.5
    is_false = ~is_match.any(0) & ~is_ignored
    is_missed = ~is_match.any(1) & ~gt.is_crowd

    matched_gt, matched_pred = np.nonzero(is_match)
    counts = np.zeros((num_categories, 4))
    matched_categories = gt.categories[matched_gt]
    np.add.at(counts, (matched_categories, IOU), iou[matched_gt, matched_pred])
    np.add.at(counts, (matched_categories, TP), 1)
    np.add.at(counts, (pred.categories[is_false], FP), 1)
    np.add.at(counts, (gt.categories[is_missed], FN), 1)
    return counts


def _overlaps(
    gt_map: np.ndarray, gt_ids: np.ndarray, pred_map: np.ndarray, pred_ids: np.ndarray
) -> np.ndarray:
    """Pixels that each gt, and the unlabelled part as the last row, shares with each prediction, (G + 1, N)."""
    gt_index = _index_of(gt_map, np.append(gt_ids, VOID))
    pred_index = _index_of(pred_map, pred_ids)
    num_pred = len(pred_ids)
    is_in_both = (gt_index >= 0) & (pred_index >= 0)
    pair = gt_index[is_in_both] * num_pred + pred_index[is_in_both]
    counts = np.bincount(pair, minlength=(len(gt_ids) + 1) * num_pred)
    return counts.reshape(len(gt_ids) + 1, num_pred)


def _index_of(segment_map: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The position in ``ids`` of each pixel's id, -1 if it is not among them, (H * W, )."""
    present, inverse = np.unique(segment_map, return_inverse=True)
    is_id = present[:, None] == ids
    index = np.where(is_id.any(1), is_id.argmax(1), -1) if len(ids) else np.full(len(present), -1)
    return index[inverse.ravel()]


def _overlap_with_crowd(overlap: np.ndarray, gt: Segments, pred: Segments) -> np.ndarray:
    """Pixels that each prediction shares with the crowd of its category; of several crowds the last one counts."""
    in_crowd = np.zeros(len(pred.ids))
    for crowd in np.flatnonzero(gt.is_crowd):
        is_same = pred.categories == gt.categories[crowd]
        in_crowd[is_same] = overlap[crowd, is_same]
    return in_crowd


@dataclass
class PanopticQuality:
    """The panoptic quality of a data set.

    Attributes:
        counts (np.ndarray): The sum of :func:`quality_counts` over all images.
        is_thing (np.ndarray): Whether each category is a thing or stuff.
    """

    counts: np.ndarray
    is_thing: np.ndarray

    def by_category(self) -> np.ndarray:
        """Return PQ, SQ and RQ per category, (num_categories, 3); 0 if it is neither there nor predicted."""
        iou, tp, fp, fn = self.counts.T
        total = tp + fp / 2 + fn / 2
        pq = _ratio(iou, total)
        sq = _ratio(iou, tp)
        rq = _ratio(tp, total)
        return np.stack([pq, sq, rq], 1)

    def average(self, of: np.ndarray | None = None) -> dict[str, float]:
        """Average over the categories that occur, of all or of those in a mask.

        Returns:
            dict[str, float]: ``pq``, ``sq`` and ``rq`` in [0, 1], NaN if no category occurs, and ``n``, how many do.
        """
        occurs = self.counts[:, TP:].any(1)
        if of is not None:
            occurs &= of
        num = int(occurs.sum())
        means = self.by_category()[occurs].sum(0) / (num or np.nan)
        return dict(zip(('pq', 'sq', 'rq'), means.tolist()), n=num)

    def results(self) -> dict[str, dict]:
        """Return the averages over all categories, things and stuff, as mmdet names them."""
        return dict(
            All=self.average(),
            Things=self.average(self.is_thing),
            Stuff=self.average(~self.is_thing),
        )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def gt_segments(segments_info: Sequence[dict], index: dict[int, int], file: str) -> Segments:
    """Read COCO's ``segments_info`` of an image; ``index`` maps category ids to indices.

    Raises:
        InputError: The category of a segment is not listed.
    """
    unknown = [info['category_id'] for info in segments_info if info['category_id'] not in index]
    if unknown:
        raise InputError(
            f'{file}: category_id {unknown[0]} is not among the {len(index)} categories'
        )
    return Segments(
        ids=np.array([info['id'] for info in segments_info], dtype=np.int64),
        categories=np.array([index[info['category_id']] for info in segments_info], dtype=int),
        areas=np.array([info['area'] for info in segments_info], dtype=np.float64),
        is_crowd=np.array([info.get('iscrowd', 0) == 1 for info in segments_info], dtype=bool),
    )
