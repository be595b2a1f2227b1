"""Resizing as the authors of DETR and its descendants do: by Pillow, to truncated instead of rounded sizes."""

from mmdet.datasets.transforms import Resize

from ...registry import TRANSFORMS


def shorter_side_size(width: int, height: int, side: int, longest: int) -> tuple[int, int]:
    """Return the width and height of an image whose shorter side is resized to ``side``, as DETR computes them.

    If the longer side would exceed ``longest``, the shorter one is reduced first, and rounded; the longer one follows
    from it and is truncated. So the longer side may still exceed ``longest`` by a pixel: 500 x 247 with 800 and 1333
    becomes 1334 x 659, since round(1333 * 247 / 500) = 659 and int(659 * 500 / 247) = 1334.

    Args:
        width (int): Width of the image in pixels.
        height (int): Height of the image in pixels.
        side (int): Desired shorter side in pixels.
        longest (int): Limit of the longer side in pixels.
    """
    short, long = sorted((width, height))
    # The order of the operations is the authors': another one may round to another pixel.
    if float(long) / float(short) * side > longest:
        side = round(longest * float(short) / float(long))
    if side == short:
        return width, height
    if width < height:
        return side, int(side * height / width)
    return int(side * width / height), side


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
