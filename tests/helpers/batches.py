"""Random batches."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData


def random_samples(sizes, input_size, counts, num_classes=80, seed=0):
    """Return data samples with random boxes for images of ``sizes`` (height, width), padded to ``input_size``."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index, ((height, width), count) in enumerate(zip(sizes, counts)):
        first, second = torch.rand(count, 4, generator=generator).chunk(2, dim=1)
        low = torch.minimum(first, second) * 0.8
        high = torch.maximum(first, second).clamp(min=0.1)
        bboxes = torch.cat([low, high], 1) * torch.tensor([width, height, width, height])
        labels = torch.randint(num_classes, (count,), generator=generator)
        metainfo = dict(
            img_id=index,
            img_path=f'{index}.jpg',
            img_shape=(height, width),
            ori_shape=(height, width),
            batch_input_shape=input_size,
            scale_factor=(1.0, 1.0),
        )
        gts = InstanceData(bboxes=bboxes, labels=labels)
        samples.append(DetDataSample(metainfo=metainfo, gt_instances=gts))
    return samples


def ragged_batch(counts=(3, 0, 7), seed=0):
    """Return three images of different sizes in one padded batch (3, 3, 128, 160), and their data samples."""
    sizes = [(128, 120), (96, 160), (112, 144)]
    input_size = (128, 160)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.zeros(3, 3, *input_size)
    for image, (height, width) in zip(inputs, sizes):
        image[:, :height, :width] = torch.randn(3, height, width, generator=generator)
    return inputs, random_samples(sizes, input_size, counts, seed=seed)


def add_masks(samples, seed=0):
    """Give each gt of the samples a mask: an ellipse with ragged edges in its box."""
    generator = np.random.default_rng(seed)
    for sample in samples:
        height, width = sample.img_shape
        y, x = np.mgrid[:height, :width]
        masks = np.zeros((len(sample.gt_instances), height, width), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, sample.gt_instances.bboxes.tolist()):
            across = (x - (x1 + x2) / 2) / max(x2 - x1, 1)
            down = (y - (y1 + y2) / 2) / max(y2 - y1, 1)
            radius = generator.uniform(0.2, 0.3, mask.shape)
            mask[:] = across**2 + down**2 < radius
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
