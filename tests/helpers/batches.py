"""Random batches."""
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


def random_samples(sizes, input_size, counts, num_classes=80, seed=0):
    """Data samples with random boxes for images of ``sizes`` (height, width) padded to ``input_size``."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index, ((height, width), count) in enumerate(zip(sizes, counts)):
        corners = torch.rand(count, 4, generator=generator)
        low, high = torch.minimum(corners[:, :2], corners[:, 2:]) * 0.8, torch.maximum(corners[:, :2], corners[:, 2:])
        bboxes = torch.cat([low, high.clamp(min=0.1)], 1) * torch.tensor([width, height, width, height])
        labels = torch.randint(num_classes, (count, ), generator=generator)
        samples.append(DetDataSample(
            metainfo=dict(
                img_id=index, img_path=f'{index}.jpg', img_shape=(height, width), ori_shape=(height, width),
                batch_input_shape=input_size, scale_factor=(1., 1.)),
            gt_instances=InstanceData(bboxes=bboxes, labels=labels)))
    return samples


def ragged_batch(counts=(3, 0, 7), seed=0):
    """Three images of different sizes in one padded batch: inputs (3, 3, 128, 160) and data samples."""
    sizes, input_size = [(128, 120), (96, 160), (112, 144)], (128, 160)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.zeros(3, 3, *input_size)
    for image, (height, width) in zip(inputs, sizes):
        image[:, :height, :width] = torch.randn(3, height, width, generator=generator)
    return inputs, random_samples(sizes, input_size, counts, seed=seed)
