"""Predictions beside ground truth, many images in one picture."""
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
    """mmdet's visualizer, but labels of small boxes are as large as others, and none runs out of the image."""

    def draw_texts(self, texts: str, positions: torch.Tensor, font_sizes: int = MIN_FONT_SIZE, **kwargs):
        size = max(font_sizes, MIN_FONT_SIZE)
        rightmost = max(self.width - 0.7 * size * len(texts), 0)  # 0.7: about a character's width over its size
        positions = torch.stack([positions[0].clamp(max=rightmost), positions[1]])
        return super().draw_texts(texts, positions, font_sizes=size, **kwargs)


def draw_predictions(images: Sequence[np.ndarray], samples: Sequence[DetDataSample], dataset_meta: dict,
                     out: str | Path, score_thr: float = 0.3, columns: int = 3, side: int = 320) -> np.ndarray:
    """Draw a sheet of pairs: left the ground truth, right the predictions above ``score_thr`` with label and score.

    Args:
        images (Sequence[ndarray]): uint8 RGB images, (h, w, 3) each, of any size.
        samples (Sequence[DetDataSample]): One an image, with ``gt_instances`` (bboxes, labels) and ``pred_instances``
            (bboxes, labels, scores); boxes are xyxy in pixels of that image.
        dataset_meta (dict): With ``classes`` and ``palette``, as ``dataset.metainfo`` has them.
        out (str | Path): PNG or JPEG file to write; its folder is made.
        score_thr (float): Least score of a prediction that is drawn.
        columns (int): Pairs in a row.
        side (int): Pixels of the longer side of one drawn image; small images are enlarged, so that text is legible.

    Returns:
        ndarray: The sheet, uint8 RGB.

    Raises:
        ValueError: No images, or not one sample an image.
    """
    if not images or len(images) != len(samples):
        raise ValueError(f'{len(images)} images and {len(samples)} samples: need one sample an image, at least one.')
    visualizer = LegibleVisualizer(line_width=2)
    visualizer.dataset_meta = dataset_meta
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    pair = 2 * side + 2 * GAP
    sheet = np.full((TITLE_HEIGHT + rows * (side + GAP), columns * pair, 3), 255, np.uint8)
    for column in range(columns):
        for left, text in ((0, 'ground truth'), (side, f'predictions above {score_thr:g}')):
            corner = (column * pair + left + 2, TITLE_HEIGHT - 9)
            cv2.putText(sheet, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
    for index, (image, sample) in enumerate(zip(images, samples, strict=True)):
        drawn = _draw_pair(visualizer, image, sample, score_thr, side)
        top, left = TITLE_HEIGHT + index // columns * (side + GAP), index % columns * pair
        half = drawn.shape[1] // 2
        for part, shift in ((drawn[:, :half], 0), (drawn[:, half:], side + 2)):
            sheet[top:top + len(part), left + shift:left + shift + half] = part
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), sheet[..., ::-1]):
        raise OSError(f'{out}: the picture could not be written.')
    return sheet


def _draw_pair(visualizer: DetLocalVisualizer, image: np.ndarray, sample: DetDataSample, score_thr: float,
               side: int) -> np.ndarray:
    """mmdet's picture of one image, ground truth and predictions side by side, enlarged to ``side``."""
    scale = side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    scaled = DetDataSample()
    for name in ('gt_instances', 'pred_instances'):
        instances = sample.get(name)
        if instances is not None:  # boxes only: masks would have to be enlarged, too
            kept = {key: instances[key].cpu() for key in ('labels', 'scores') if key in instances}
            boxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
            kept['bboxes'] = boxes.detach().cpu().float() * scale
            kept['bboxes'][:, 0::2].clamp_(0, size[0] - 1)
            kept['bboxes'][:, 1::2].clamp_(0, size[1] - 1)
            setattr(scaled, name, InstanceData(**kept))
    visualizer.add_datasample('pair', enlarged, scaled, pred_score_thr=score_thr)
    return visualizer.get_image()
