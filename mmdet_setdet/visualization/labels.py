"""Images with their predicted and true class written on them."""
import mmcv
import numpy as np
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from ..registry import VISUALIZERS

MIN_SIDE = 224  # pixels; text on a smaller image could not be read
FONT_SIZE = 11


@VISUALIZERS.register_module()
class LabelVisualizer(Visualizer):
    """Draws image classifications, for mmdet's ``DetVisualizationHook`` and so for ``tools/test.py --show-dir``.

    Class names come from ``dataset_meta['classes']``, which the runner sets; without them numbers are written.
    """

    def add_datasample(self, name: str, image: np.ndarray, data_sample: BaseDataElement | None = None,
                       show: bool = False, wait_time: float = 0, out_file: str | None = None, step: int = 0,
                       **kwargs) -> None:
        """Draws one image.

        Args:
            name (str): Of the image, for the window or the backends.
            image (np.ndarray): uint8, H x W x 3, RGB.
            data_sample (BaseDataElement, optional): ``pred_label`` with ``pred_scores``, and ``gt_label``.
            show (bool): Whether to open a window.
            wait_time (float): Seconds for which it stays open; 0: until a key is pressed.
            out_file (str, optional): Where to write the picture, instead of giving it to the backends.
            step (int): Of the training, for the backends.
            **kwargs: What makes sense for boxes only, such as ``pred_score_thr``.
        """
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            image = mmcv.imrescale(image, MIN_SIDE / min(height, width))
        self.set_image(image)
        self.draw_texts(self._caption(data_sample), np.array([4, 4]), font_sizes=FONT_SIZE, colors='w',
                        bboxes=dict(facecolor='k', edgecolor='none', alpha=0.7, pad=2))
        drawn = self.get_image()
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is None:
            self.add_image(name, drawn, step)
        else:
            mmcv.imwrite(drawn[..., ::-1], out_file)

    def _caption(self, sample: BaseDataElement | None) -> str:
        names = (self.dataset_meta or {}).get('classes')
        truth, label = (sample.get(key) if sample else None for key in ('gt_label', 'pred_label'))
        lines = []
        if label is not None:
            lines.append(f'{names[label] if names else label} {sample.pred_scores[label]:.2f}')
        if truth is not None and truth != label:
            lines.append(f'true: {names[truth] if names else truth}')
        return '\n'.join(lines)
