"""What is left of predictions: the best of each level of a dense head, no duplicates (non-maximum suppression, NMS).

The computation is mmdet's (``filter_scores_and_topk`` and ``batched_nms``), in numpy.
"""

import math

import numpy as np


def select(
    predictions: dict[str, np.ndarray],
    input_size: tuple[int, int],
    image_size: tuple[int, int],
    nms: dict,
) -> dict[str, np.ndarray]:
    """Select the detections of one image.

    Args:
        predictions (dict[str, np.ndarray]): ``boxes`` (x1, y1, x2, y2) of all N predictions, level after level, (N, 4);
            ``scores`` of all classes, (N, K); and for some heads ``factors`` of the scores, (N, ).
        input_size (tuple[int, int]): Height and width of the model's input, which tell where a level ends.
        image_size (tuple[int, int]): Height and width of the image without padding, to which boxes are clipped.
        nms (dict): See :class:`ModelInfo`.

    Returns:
        dict[str, np.ndarray]: ``boxes`` (M, 4), ``scores`` (M, ) and ``labels`` (M, ), best first.
    """
    all_scores = predictions['scores']
    kept = []
    first = 0
    for stride in nms['strides']:
        cells = math.prod(math.ceil(side / stride) for side in input_size)
        end = first + cells * nms['priors_per_cell']
        kept.append(_best_of_level(all_scores[first:end], first, nms))
        first = end
    place, labels = np.concatenate(kept, 1)
    boxes, scores = predictions['boxes'][place], all_scores[place, labels]
    if 'factors' in predictions:
        scores = scores * predictions['factors'][place]

    order = np.argsort(-scores, kind='stable')
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    index = suppress_by_class(boxes, labels, nms['iou_threshold'])[: nms['max_per_img']]
    boxes = boxes[index].clip(0, [*image_size[::-1]] * 2)
    if nms['drops_empty']:
        is_kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, index = boxes[is_kept], index[is_kept]
    return dict(boxes=boxes, scores=scores[index], labels=labels[index])


def without_duplicates(results: dict[str, np.ndarray], max_overlap: float) -> dict[str, np.ndarray]:
    """Leave out the results of set prediction that overlap a better one of their class by more.

    Args:
        results (dict[str, np.ndarray]): ``boxes`` (N, 4), ``scores`` and ``labels`` (N, ), best first, and perhaps
            ``queries`` (N, ) and ``attention`` (N, h, w). What is said of all queries stays: ``layer_boxes`` and so on.
        max_overlap (float): The largest IoU of two results of a class.
    """
    index = suppress_by_class(results['boxes'], results['labels'], max_overlap)
    return {
        name: values if name.startswith('layer_') else values[index]
        for name, values in results.items()
    }


def _best_of_level(scores: np.ndarray, first: int, nms: dict) -> np.ndarray:
    """Number and class of the best pairs of prediction and class of one level, (2, M)."""
    limit = nms['nms_pre']
    if nms['one_per_cell']:
        limit = min(limit, len(scores))
    place, labels = np.nonzero(scores > nms['score_thr'])
    if len(place) > limit > 0:
        best = np.argsort(-scores[place, labels], kind='stable')[:limit]
        place, labels = place[best], labels[best]
    return np.stack([place + first, labels])


def suppress_by_class(boxes: np.ndarray, labels: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return the same as :func:`suppress`, each class by itself."""
    # Classes are moved apart, so that one pass serves all of them.
    apart = boxes + (labels * (boxes.max(initial=0) + 1))[:, None]
    return suppress(apart, iou_threshold)


def suppress(boxes: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return which boxes (N, 4), best first, overlap with no better one that is kept by more than the threshold."""
    low, high = boxes[:, :2], boxes[:, 2:]
    areas = (high - low).prod(1)
    remaining = np.arange(len(boxes))
    kept = []
    while len(remaining):
        best, others = remaining[0], remaining[1:]
        kept.append(best)
        sides = np.minimum(high[best], high[others]) - np.maximum(low[best], low[others])
        common = sides.clip(0).prod(1)
        union = areas[best] + areas[others] - common
        remaining = others[common <= iou_threshold * union]
    return np.array(kept, dtype=np.int64)
