"""Resizing as the authors of DETR and its descendants do: by Pillow, to sizes that are cut off, not rounded."""
from mmdet.datasets.transforms import Resize

from ..registry import TRANSFORMS


def shorter_side_size(width: int, height: int, side: int, longest: int) -> tuple[int, int]:
    """Width and height at which an image has the shorter side ``side``, its ratio kept, as DETR computes it.

    Where the longer side would exceed ``longest``, the shorter one is made smaller first, and rounded; the longer one
    follows from it and is cut off. So the longer side may still exceed ``longest`` by a pixel.

    Args:
        width (int): Of the image, in pixels.
        height (int): Of the image, in pixels.
        side (int): Wanted shorter side, in pixels.
        longest (int): Limit of the longer side, in pixels.
    """
    short, long = sorted((width, height))
    # The order of the operations is the authors': another one may round to another pixel.
    if float(long) / float(short) * side > longest:
        side = int(round(longest * float(short) / float(long)))
    if side == short:
        return width, height
    if width < height:
        return side, int(side * height / width)
    return int(side * width / height), side


@TRANSFORMS.register_module()
class PillowResize(Resize):
    """mmdet's ``Resize`` with the arithmetic that DETR, DAB-DETR and DN-DETR were trained and tested with.

    Pillow's filter averages over all pixels that a new one covers (mmcv's default, OpenCV, looks at four), and
    sizes are those of :func:`shorter_side_size`. ``scale_factor`` is the exact ratio of the sizes, so boxes find their
    way back. In a training pipeline: ``dict(type='RandomChoiceResize', resize_type='PillowResize', scales=[...])``.

    Args:
        scale (tuple[int, int]): Limits of the longer and the shorter side in pixels, in any order.
        clip_object_border (bool): Whether boxes are cut off at the border of the image.
        interpolation (str): Pillow's filter: ``'bilinear'``, ``'bicubic'``, ...
    """

    def __init__(self, scale: tuple[int, int], clip_object_border: bool = True,
                 interpolation: str = 'bilinear') -> None:
        super().__init__(
            scale, clip_object_border=clip_object_border, backend='pillow', interpolation=interpolation)

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        results['scale'] = shorter_side_size(width, height, min(self.scale), max(self.scale))
        super()._resize_img(results)
