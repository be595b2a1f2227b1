"""Images' objects and what a half-trained dense head would predict for them, from a seed."""
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
        sizes (list[tuple]): Height and width of each level's map.
        logits (Tensor): Class scores before the sigmoid, (B, N, K).
        distances (Tensor): From the centres to the left, top, right and bottom of the predicted boxes, (B, N, 4).
        objects (list[InstanceData]): ``bboxes`` in pixels and ``labels`` of each image.
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
        """Values (B, N, C) as maps (B, C, H, W) of each level."""
        parts = values.split([height * width for height, width in self.sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, self.sizes)]


def random_objects(counts: list[int], image_size: tuple[int, int], num_classes: int,
                   generator: torch.Generator) -> list[InstanceData]:
    """Boxes with sides of 16 pixels to the image's, small ones the more frequent, as on COCO."""
    height, width = image_size
    whole, images = torch.tensor([width, height]), []
    for count in counts:
        sides = 16 * (whole / 16)**(torch.rand(count, 2, generator=generator) * 0.6
                                    + torch.rand(count, 1, generator=generator) * 0.4)
        corner = torch.rand(count, 2, generator=generator) * (whole - sides)
        images.append(InstanceData(
            bboxes=torch.cat([corner, corner + sides], 1),
            labels=torch.randint(num_classes, (count, ), generator=generator)))
    return images


def scene(counts: list[int], image_size: tuple[int, int] = (800, 1216), realistic: bool = True, num_classes: int = 80,
          strides: tuple[int, ...] = STRIDES, seed: int = 0) -> Scene:
    """A batch with ``counts`` objects an image.

    Realistic predictions: within an object the nearest predictions have found its box and class, more or less; all
    others give low scores to random boxes about their centres. Otherwise all predictions are random.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [(-(-image_size[0] // stride), -(-image_size[1] // stride)) for stride in strides]
    priors = torch.cat(MlvlPointGenerator(strides, offset=0.5).grid_priors(sizes, device='cpu', with_stride=True))
    objects = random_objects(counts, image_size, num_classes, generator)
    shape = len(counts), len(priors)
    logits = torch.randn(*shape, num_classes, generator=generator) - (4.6 if realistic else 2)
    distances = torch.rand(*shape, 4, generator=generator) * priors[:, 2:3] * 6
    if realistic:
        for gts, image_logits, image_distances in zip(objects, logits, distances):
            for box, label in zip(gts.bboxes, gts.labels):
                exact = torch.cat([priors[:, :2] - box[:2], box[2:] - priors[:, :2]], 1)
                near = (exact.amin(1) > 0) & (exact.amax(1) < 12 * priors[:, 2])
                noise = torch.randn(int(near.sum()), 5, generator=generator)
                image_distances[near] = exact[near] * (noise[:, :4] * 0.25).exp()
                image_logits[near, label] += 3 + noise[:, 4]
    return Scene(priors, sizes, logits, distances, objects)
