"""Many images in one picture, each with its ground truth beside the predictions."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

TITLE_HEIGHT = 28
GAP = 6
MIN_FONT_SIZE = 11


class LegibleVisualizer(DetLocalVisualizer):
    """mmdet's visualizer with labels that are legible on small boxes, too, and that stay inside the image."""

    def draw_texts(
        self, texts: str, positions: torch.Tensor, font_sizes: int = MIN_FONT_SIZE, **kwargs
    ):
        size = max(font_sizes, MIN_FONT_SIZE)
        text_width = (
            0.7 * size * len(texts)
        )  # 0.7: about the ratio of a character's width to its size
        rightmost = max(self.width - text_width, 0)
        x, y = positions
        positions = torch.stack([x.clamp(max=rightmost), y])
        return super().draw_texts(texts, positions, font_sizes=size, **kwargs)


def draw_predictions(
    images: Sequence[np.ndarray],
    samples: Sequence[DetDataSample],
    dataset_meta: dict,
    out: str | Path,
    score_thr: float = 0.3,
    columns: int = 3,
    side: int = 320,
) -> np.ndarray:
    """Draw a sheet of pairs: left the ground truth, right the predictions above ``score_thr`` with label and score.

    Args:
        images (Sequence[ndarray]): uint8 RGB images of any size, (h, w, 3).
        samples (Sequence[DetDataSample]): One per image, with ``gt_instances`` (bboxes, labels) and ``pred_instances``
            (bboxes, labels, scores). Boxes are (x1, y1, x2, y2) in pixels of that image.
        dataset_meta (dict): ``classes`` and ``palette``, as in ``dataset.metainfo``.
        out (str | Path): PNG or JPEG file to write; its folder is created.
        score_thr (float): Lowest score of a prediction that is drawn.
        columns (int): Pairs per row.
        side (int): Pixels of the longer side of a drawn image; small images are enlarged, so that text is legible.

    Returns:
        ndarray: The sheet, uint8 RGB.

    Raises:
        ValueError: No images, or not one sample per image.
        OSError: The picture could not be written.
    """
    if not images or len(images) != len(samples):
        raise ValueError(
            f'{len(images)} images and {len(samples)} samples: need one sample per image, at least one.'
        )
    visualizer = LegibleVisualizer(line_width=2)
    visualizer.dataset_meta = dataset_meta
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = _empty_sheet(rows, columns, side, score_thr)
    for index, (image, sample) in enumerate(zip(images, samples)):
        drawn = _draw_pair(visualizer, image, sample, score_thr, side)
        height, width, _ = drawn.shape
        half = width // 2
        row, column = divmod(index, columns)
        top = TITLE_HEIGHT + row * (side + GAP)
        left = column * _pair_width(side)
        right = left + side + 2
        sheet[top : top + height, left : left + half] = drawn[:, :half]
        sheet[top : top + height, right : right + half] = drawn[:, half:]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), sheet[..., ::-1]):
        raise OSError(f'{out}: the picture could not be written.')
    return sheet


def _pair_width(side: int) -> int:
    return 2 * side + 2 * GAP


def _empty_sheet(rows: int, columns: int, side: int, score_thr: float) -> np.ndarray:
    """Return a white sheet with headings above each column."""
    height = TITLE_HEIGHT + rows * (side + GAP)
    sheet = np.full((height, columns * _pair_width(side), 3), 255, np.uint8)
    headings = {0: 'ground truth', side: f'predictions above {score_thr:g}'}
    for column in range(columns):
        for left, text in headings.items():
            corner = (column * _pair_width(side) + left + 2, TITLE_HEIGHT - 9)
            cv2.putText(
                sheet, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA
            )
    return sheet


def _draw_pair(
    visualizer: DetLocalVisualizer,
    image: np.ndarray,
    sample: DetDataSample,
    score_thr: float,
    side: int,
) -> np.ndarray:
    """Return mmdet's picture of one image, ground truth and predictions side by side, scaled to ``side``."""
    scale = side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scaled_image = cv2.resize(image, size, interpolation=interpolation)
    scaled = DetDataSample()
    for name in ('gt_instances', 'pred_instances'):
        instances = sample.get(name)
        if instances is not None:
            setattr(scaled, name, _scaled(instances, scale, size))
    visualizer.add_datasample('pair', scaled_image, scaled, pred_score_thr=score_thr)
    return visualizer.get_image()


def _scaled(instances: InstanceData, scale: float, size: Sequence[int]) -> InstanceData:
    """Return boxes, labels and scores for an image scaled to ``size``; masks are left out."""
    result = InstanceData()
    for key in ('labels', 'scores'):
        if key in instances:
            result[key] = instances[key].cpu()
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    boxes = boxes.detach().cpu().float() * scale
    width, height = size
    boxes[:, 0::2].clamp_(0, width - 1)
    boxes[:, 1::2].clamp_(0, height - 1)
    result.bboxes = boxes
    return result
