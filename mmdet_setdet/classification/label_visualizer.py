"""Pictures of image classifications: the image with its predicted and true class written on it."""

import mmcv
import numpy as np
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from ..registry import VISUALIZERS

MIN_SIDE = 224  # pixels; text on a smaller image would be illegible
FONT_SIZE = 11
TEXT_BOX = dict(facecolor='k', edgecolor='none', alpha=0.7, pad=2)


@VISUALIZERS.register_module()
class LabelVisualizer(Visualizer):
    """Draw image classifications, for mmdet's ``DetVisualizationHook`` and so for ``tools/test.py --show-dir``.

    Class names come from ``dataset_meta['classes']``, which the runner sets; without them labels are written.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement | None = None,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        **kwargs,
    ) -> None:
        """Draw one image.

        Args:
            name (str): Name of the image, for the window or the backends.
            image (np.ndarray): uint8, H x W x 3, RGB.
            data_sample (BaseDataElement, optional): ``pred_label`` with ``pred_scores``, and ``gt_label``.
            show (bool): Whether to open a window.
            wait_time (float): Seconds for which it stays open; 0: until a key is pressed.
            out_file (str, optional): File for the picture, instead of passing it to the backends.
            step (int): Training step, for the backends.
            **kwargs: Ignored: options that make sense for boxes only, such as ``pred_score_thr``.
        """
        shorter_side = min(image.shape[:2])
        if shorter_side < MIN_SIDE:
            image = mmcv.imrescale(image, MIN_SIDE / shorter_side)
        self.set_image(image)
        self.draw_texts(
            self._caption(data_sample),
            positions=np.array([4, 4]),
            font_sizes=FONT_SIZE,
            colors='w',
            bboxes=TEXT_BOX,
        )
        drawn = self.get_image()
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, drawn, step)
        else:
            mmcv.imwrite(drawn[..., ::-1], out_file)

    def _caption(self, sample: BaseDataElement | None) -> str:
        if sample is None:
            return ''
        label = sample.get('pred_label')
        true_label = sample.get('gt_label')
        lines = []
        if label is not None:
            lines.append(f'{self._class_name(label)} {sample.pred_scores[label]:.2f}')
        if true_label is not None and true_label != label:
            lines.append(f'true: {self._class_name(true_label)}')
        return '\n'.join(lines)

    def _class_name(self, label: int) -> str:
        names = (self.dataset_meta or {}).get('classes')
        return names[label] if names else str(label)
