"""Resizing as the authors of DETR and its descendants do: by Pillow, to truncated instead of rounded sizes."""

from mmdet.datasets.transforms import Resize

from ...registry import TRANSFORMS
from ...runtime.resizing import shorter_side_size


@TRANSFORMS.register_module()
class PillowResize(Resize):
    """mmdet's ``Resize`` with the arithmetic that DETR, DAB-DETR and DN-DETR were trained and tested with.

    Pillow's filter averages over all pixels that a new one covers (OpenCV, the default of mmcv, reads four), and sizes
    are those of :func:`shorter_side_size`. ``scale_factor`` is the exact ratio of the sizes, so that boxes map back
    exactly. In a training pipeline: ``dict(type='RandomChoiceResize', resize_type='PillowResize', scales=[...])``.

    Args:
        scale (tuple[int, int]): Limits of the longer and the shorter side in pixels, in any order.
        clip_object_border (bool): Whether to clip boxes to the image.
        interpolation (str): Pillow's filter: ``'bilinear'``, ``'bicubic'``, ...
    """

    def __init__(
        self,
        scale: tuple[int, int],
        clip_object_border: bool = True,
        interpolation: str = 'bilinear',
    ) -> None:
        super().__init__(
            scale,
            clip_object_border=clip_object_border,
            backend='pillow',
            interpolation=interpolation,
        )

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        results['scale'] = shorter_side_size(width, height, min(self.scale), max(self.scale))
        super()._resize_img(results)
