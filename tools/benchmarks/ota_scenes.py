"""Random images' objects and the predictions of a half-trained dense head for them."""

from dataclasses import dataclass

import torch
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmengine.structures import InstanceData
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)


@dataclass
class Scene:
    """A batch of B images of one size with their objects and predictions.

    Attributes:
        priors (Tensor): Centre and stride of each of the N predictions: x, y, stride, stride in pixels, (N, 4).
        sizes (list[tuple]): Height and width of the map per level.
        logits (Tensor): Class scores before the sigmoid, (B, N, K).
        distances (Tensor): From the centres to the left, top, right and bottom of the predicted boxes, (B, N, 4).
        objects (list[InstanceData]): ``bboxes`` in pixels and ``labels`` per image.
    """

    priors: Tensor
    sizes: list[tuple[int, int]]
    logits: Tensor
    distances: Tensor
    objects: list[InstanceData]

    @property
    def bboxes(self) -> Tensor:
        """Tensor: The predicted boxes (x1, y1, x2, y2) in pixels, (B, N, 4)."""
        points = self.priors[:, :2]
        return torch.cat([points - self.distances[..., :2], points + self.distances[..., 2:]], -1)

    def by_level(self, values: Tensor) -> list[Tensor]:
        """Split values (B, N, C) into a map (B, C, H, W) per level."""
        parts = values.split([height * width for height, width in self.sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, self.sizes)]


def random_objects(
    counts: list[int], image_size: tuple[int, int], num_classes: int, generator: torch.Generator
) -> list[InstanceData]:
    """Draw boxes with sides between 16 pixels and the image's, small ones more often, as on COCO."""
    height, width = image_size
    image_sides = torch.tensor([width, height])
    images = []
    for count in counts:
        # How large a side is, from 0 (16 pixels) to 1 (the image's side); width and height share a part of it.
        own = torch.rand(count, 2, generator=generator) * 0.6
        shared = torch.rand(count, 1, generator=generator) * 0.4
        sides = 16 * (image_sides / 16) ** (own + shared)
        corner = torch.rand(count, 2, generator=generator) * (image_sides - sides)
        bboxes = torch.cat([corner, corner + sides], 1)
        labels = torch.randint(num_classes, (count,), generator=generator)
        images.append(InstanceData(bboxes=bboxes, labels=labels))
    return images


def scene(
    counts: list[int],
    image_size: tuple[int, int] = (800, 1216),
    realistic: bool = True,
    num_classes: int = 80,
    strides: tuple[int, ...] = STRIDES,
    seed: int = 0,
) -> Scene:
    """Draw a batch of images.

    Args:
        counts (list[int]): Number of objects per image.
        image_size (tuple[int, int]): Height and width in pixels.
        realistic (bool): Within an object the nearest predictions roughly have its box and class; all others have low
            scores and random boxes about their centres. False: all predictions are random.
        num_classes (int): K.
        strides (tuple[int, ...]): Stride per level.
        seed (int): Seed of everything.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = image_size
    sizes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    points = MlvlPointGenerator(strides, offset=0.5)
    priors = torch.cat(points.grid_priors(sizes, device='cpu', with_stride=True))
    objects = random_objects(counts, image_size, num_classes, generator)
    num_predictions = len(priors)
    background_logit = -4.6 if realistic else -2
    logits = (
        torch.randn(len(counts), num_predictions, num_classes, generator=generator)
        + background_logit
    )
    distances = (
        torch.rand(len(counts), num_predictions, 4, generator=generator) * priors[:, 2:3] * 6
    )
    if realistic:
        for gts, image_logits, image_distances in zip(objects, logits, distances):
            _learn_half(priors, gts, image_logits, image_distances, generator)
    return Scene(priors, sizes, logits, distances, objects)


def _learn_half(
    priors: Tensor, gts: InstanceData, logits: Tensor, distances: Tensor, generator: torch.Generator
) -> None:
    """Move the predictions near each object towards its box and class, in place."""
    for box, label in zip(gts.bboxes, gts.labels):
        exact = torch.cat([priors[:, :2] - box[:2], box[2:] - priors[:, :2]], 1)
        is_inside = exact.amin(1) > 0
        fits_level = exact.amax(1) < 12 * priors[:, 2]
        near = is_inside & fits_level
        noise = torch.randn(int(near.sum()), 5, generator=generator)
        distances[near] = exact[near] * (noise[:, :4] * 0.25).exp()
        logits[near, label] += 3 + noise[:, 4]
