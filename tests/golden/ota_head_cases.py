"""OTA's detectors with seeded weights and images, of which make_golden_ota_head.py keeps what its authors compute."""

from pathlib import Path

import numpy as np
import torch
from golden.cases import norm_and_entries, seeded_weights
from helpers.batches import random_samples
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

CONFIGS = Path(__file__).parents[2] / 'configs'
FILE = Path(__file__).with_name('ota_head.npz')
# The second is ResNeXt with deformable convolutions, as deep as ResNet-50 to be quick.
CASES = {
    'r50': ('ota_r50_fpn_1x.py', {}),
    'x50_dcn': ('ota_x101_dcn_fpn_2x.py', {'model.backbone.depth': 50}),
}
COUNTS = (3, 0, 7)
SIZES = [(128, 120), (96, 160), (112, 144)]
# One parameter of each part, whose gradient is compared.
WATCHED = (
    'backbone.layer2.0.conv2.weight',
    'backbone.layer3.0.conv2.weight',
    'backbone.layer3.0.conv2.conv_offset.weight',
    'backbone.layer4.2.conv3.weight',
    'neck.lateral_convs.1.conv.weight',
    'neck.fpn_convs.4.conv.bias',
    'bbox_head.cls_convs.0.conv.bias',
    'bbox_head.reg_convs.3.gn.weight',
    'bbox_head.conv_cls.weight',
    'bbox_head.conv_reg.weight',
    'bbox_head.conv_centerness.bias',
    'bbox_head.scales.1.scale',
)
# Of test-time augmentation: ranges of sizes, two views each.
RANGES = [(48, 10000), (0, 10000), (0, 96)]
IMAGE_SIZE = (480, 640)


def config(case: str) -> Config:
    """The config of a case, without first weights."""
    name, changes = CASES[case]
    cfg = Config.fromfile(CONFIGS / name)
    cfg.merge_from_dict({**changes, 'model.backbone.init_cfg': None})
    return cfg


@torch.no_grad()
def build(case: str) -> nn.Module:
    """Return our model, in which every branch shows in the output and boxes reach a few strides."""
    cfg = config(case)
    model = seeded_weights(MODELS.build(cfg.model))
    head = model.bbox_head
    # The images have a standard deviation of 60.
    std = torch.tensor(cfg.model.data_preprocessor.std)[:, None, None]
    model.backbone.conv1.weight.div_(60 / std)
    for i, scale in enumerate(head.scales):
        scale.scale.fill_(0.8 + 0.1 * i)
    head.conv_reg.bias.add_(2)
    head.conv_cls.weight.mul_(2)
    head.conv_cls.bias.sub_(3)
    return model


def batch() -> tuple[list[Tensor], list[DetDataSample]]:
    """Images (3, H, W) of 0 to 255 in BGR, and their objects; each image was twice as large before."""
    generator = torch.Generator().manual_seed(5)
    images = []
    for size in SIZES:
        image = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
        images.append(image)
    samples = random_samples(SIZES, (128, 160), COUNTS, seed=5)
    for sample in samples:
        height, width = sample.img_shape
        sample.set_metainfo(dict(ori_shape=(2 * height, 2 * width), scale_factor=(0.5, 0.5)))
    return images, samples


def ours(case: str) -> dict[str, np.ndarray]:
    """All that is compared, from our code."""
    model = build(case)
    images, samples = batch()
    inputs = model.data_preprocessor(dict(inputs=images, data_samples=samples))['inputs']
    model.train()
    losses = model.loss(inputs, samples)
    sum(losses.values()).backward()
    model.eval()
    with torch.no_grad():
        levels = model.bbox_head(model.extract_feat(inputs))
        results = [sample.pred_instances for sample in model.predict(inputs, samples)]
    found = [(result.bboxes, result.scores, result.labels) for result in results]
    return pack(levels, losses, dict(model.named_parameters()), found)


def pack(
    levels: tuple, losses: dict[str, Tensor], parameters: dict[str, Tensor], found: list[tuple]
) -> dict:
    """What is kept, as arrays: maps thinned out, losses, gradients, the number of trained parameters, and detections
    (boxes, scores, labels) by image.

    ``parameters`` have our names; what is written is float32.
    """
    result = {}
    for name, maps in zip(('logits', 'distances', 'ious'), levels):
        channel_step = 7 if name == 'logits' else 1
        for level, values in enumerate(maps):
            result[f'{name}/{level}'] = values.flatten(2)[:, ::channel_step, ::5]
    for name, value in losses.items():
        result[f'loss/{name}'] = value
    for name in WATCHED:
        if name in parameters:
            result[f'gradient/{name}'] = norm_and_entries(parameters[name].grad)
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    result['trained parameters'] = torch.tensor(trained)
    for image, values in enumerate(found):
        for kind, value in zip(('bboxes', 'scores', 'labels'), values):
            result[f'{kind}/{image}'] = value
    return {key: value.detach().numpy() for key, value in result.items()}


def views() -> list[InstanceData]:
    """What a detector may find in six views, mirrored every other one: 40 objects again and again, and noise."""
    generator = torch.Generator().manual_seed(11)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    height, width = IMAGE_SIZE
    sides = 16 + rand(40, 2) * 200
    corners = rand(40, 2) * (torch.tensor([width, height]) - sides)
    labels = torch.randint(8, (40,), generator=generator)
    limits = torch.tensor([width, height, width, height])
    found = []
    for view in range(2 * len(RANGES)):
        seen = rand(40) < 0.8
        jitter = (rand(int(seen.sum()), 4) - 0.5) * 20
        boxes = torch.cat([corners, corners + sides], 1)[seen] + jitter
        noise_corners = corners[:9] / 2
        noise_sides = 40 * (1 + rand(9, 2))
        noise = torch.cat([noise_corners, noise_corners + noise_sides], 1)
        boxes = torch.cat([boxes, noise]).clamp(min=0).minimum(limits)
        boxes[0, 2:] = limits[
            :2
        ]  # whole numbers: what the authors add to separate classes is exact
        if view % 2:
            x1, y1, x2, y2 = boxes.unbind(1)
            boxes = torch.stack([width - x2, y1, width - x1, y2], 1)
        scores = 0.05 + 0.95 * rand(len(boxes)) ** 2
        view_labels = torch.cat([labels[seen], labels[:9]])
        found.append(InstanceData(bboxes=boxes, scores=scores, labels=view_labels))
    return found


def load(prefix: str) -> dict[str, np.ndarray]:
    """What the authors' code computes for a case, or for ``tta``."""
    with np.load(FILE) as arrays:
        return {
            key.partition('/')[2]: value
            for key, value in arrays.items()
            if key.startswith(f'{prefix}/')
        }
