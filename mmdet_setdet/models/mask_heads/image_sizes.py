"""From the masks that a head predicts, at a quarter of the input's size, to those of the image."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


@dataclass
class ImageSizes:
    """Height and width of one image on its way through the model, in pixels.

    Attributes:
        padded (Size): Of the batch that the image is padded to.
        image (Size): Of the image within it.
        result (Size): Of the image that results are for: as it was loaded, or as it went into the model.
    """

    padded: Size
    image: Size
    result: Size

    @classmethod
    def from_meta(cls, meta: dict, rescale: bool) -> 'ImageSizes':
        """Read the sizes from an image's meta information; ``rescale``: results are for the image as it was loaded."""
        image = tuple(meta['img_shape'][:2])
        padded = tuple(meta.get('batch_input_shape', image))
        result = tuple(meta['ori_shape'][:2]) if rescale else image
        return cls(padded, image, result)

    def upsample(self, logits: Tensor) -> Tensor:
        """Upsample mask logits (N, h, w) of the padded input to pixels of the image in it, (N, H, W)."""
        height, width = self.image
        upsampled = F.interpolate(logits[:, None], size=self.padded, mode='bilinear')
        return upsampled[:, 0, :height, :width]

    def masks(self, logits: Tensor) -> Tensor:
        """Turn mask logits (N, h, w) into masks of the result, bool, (N, H, W).

        As in the authors' code the mask is decided at the size of the input, and then resized without interpolation.
        """
        masks = (self.upsample(logits) > 0).byte()
        return F.interpolate(masks[:, None], size=self.result, mode='nearest')[:, 0].bool()
