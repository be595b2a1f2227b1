"""What is compared with DETR's mask head and COCO's panoptic quality: inputs from seeds, so golden files hold results.

``make_golden_panoptic.py`` runs the authors' code on the same inputs.
"""

from pathlib import Path

import numpy as np
import torch
from helpers.batches import add_masks
from helpers.configs import shallow_model_cfg
from mmdet.registry import MODELS
from torch import nn

from mmdet_setdet.evaluation.panoptic_quality import Segments
from mmdet_setdet.models.mask_heads.image_sizes import ImageSizes
from mmdet_setdet.models.mask_heads.panoptic_fusion import panoptic_map

from . import cases

NUM_CLASSES = 250  # the authors' number of classes, more than there are ids
NUM_THINGS = 91
PREDICTED = (1, 17, 44, 90, 92, 100, 200)  # ids of things and stuff
MASK_WEIGHTS = (
    'mask_head.q_linear.weight',
    'mask_head.k_linear.weight',
    'mask_head.convs.0.conv.weight',
    'mask_head.convs.0.gn.weight',
    'mask_head.convs.4.conv.weight',
    'mask_head.adapters.1.weight',
    'mask_head.conv_out.weight',
    'encoder.layers.1.ffn.layers.1.weight',
    'neck.convs.0.conv.weight',
)


def build() -> nn.Module:
    """The panoptic DETR with the authors' classes, without dropout, nothing frozen."""
    changes = {
        **cases.SIZE,
        'bbox_head.num_classes': NUM_CLASSES,
        'freeze_detector': False,
        'mask_head.num_things': NUM_THINGS,
        'mask_head.in_channels': [1024, 512, 256],
    }
    model = MODELS.build(shallow_model_cfg('detr_r50_panoptic.py', **changes))
    cases.seeded_weights(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    # A difference in rounding would switch rectifiers, and pixels between masks that are nearly equal there.
    model.double()
    tell_queries_apart(model)
    return model


@torch.no_grad()
def tell_queries_apart(model: nn.Module) -> None:
    """Change the weights so that queries differ in class, box and mask; of random weights they are nearly the same."""
    feats = model.eval().extract_feat(image()[0])
    states = model.forward_transformer(feats)['hidden_states']
    common = nn.functional.normalize(states[-1].mean((0, 1)), dim=0)
    head = model.bbox_head
    gains = {head.fc_cls: 400, head.reg_ffn.layers[0][0]: 20, model.mask_head.q_linear: 150}
    for linear, gain in gains.items():
        in_common = linear.weight @ common
        linear.weight.sub_(in_common[:, None] * common).mul_(gain)
    head.fc_cls.bias -= 1000
    head.fc_cls.bias[list(PREDICTED)] += 1000
    of_attention = model.mask_head.convs[0].conv.weight[:, -model.mask_head.num_heads :]
    of_attention.mul_(300)


def batch():
    """Three images of different sizes in one padded batch; the gts have masks."""
    inputs, samples = cases.batch()
    add_masks(samples, seed=5)
    return inputs.double(), samples


def image():
    """One image as it goes into the model, and the size at which it was loaded."""
    inputs, samples = batch()
    height, width = samples[2].img_shape
    sample = samples[2].clone()
    sample.set_metainfo(dict(batch_input_shape=(height, width), ori_shape=(230, 301)))
    return inputs[2:, :, :height, :width], sample


def ours() -> dict:
    """Everything that is compared and computed by a model."""
    model = build()
    return dict(train_step(model), mask_logits=mask_logits(model), **prediction(model))


def train_step(model: nn.Module) -> dict:
    """The mask losses, and gradients of their sum."""
    losses = model.train().loss(*batch())
    result = {name: losses[name] for name in ('loss_mask', 'loss_dice')}
    sum(result.values()).backward()
    return pack(result, dict(model.named_parameters()))


def pack(result: dict, parameters: dict) -> dict:
    """Add gradients, as numpy arrays."""
    result = dict(result)
    for name in MASK_WEIGHTS:
        result[f'gradient of {name}'] = cases.norm_and_entries(parameters[name].grad)
    return {key: value.detach().float().numpy() for key, value in result.items()}


@torch.no_grad()
def mask_logits(model: nn.Module) -> np.ndarray:
    """Mask logits of every fifth query of all three images, every other row and column, (3, 4, 16, 20)."""
    inputs, samples = batch()
    feats = model.eval().extract_feat(inputs)
    head_inputs, encoded = model.decode_tokens(*model.pre_transformer(feats, samples))
    features = model._mask_features(feats, **encoded)
    states = head_inputs['hidden_states'][-1]
    logits = [model.mask_head(states[i], i, features) for i in range(len(inputs))]
    return torch.stack(logits)[:, ::5, ::2, ::2].float().numpy()


@torch.no_grad()
def prediction(model: nn.Module) -> dict:
    """The panoptic map of one image, and the masks of its things, the best first, packed."""
    inputs, sample = image()
    [result] = model.eval().predict(inputs, [sample])
    pixels = result.pred_panoptic_seg.sem_seg[0].numpy()
    masks = result.pred_instances.masks.numpy()
    return dict(panoptic=partition(pixels), masks=np.packbits(masks))


def partition(segments: np.ndarray) -> np.ndarray:
    """A panoptic map as class + 1000 * number of the segment, counted within the class from the first pixel on."""
    result = np.zeros_like(segments, dtype=np.int32)
    count = {}
    ids, first = np.unique(segments, return_index=True)
    for id_ in ids[first.argsort()]:
        label = id_ % 1000
        count[label] = count.get(label, -1) + 1
        result[segments == id_] = label + 1000 * count[label]
    return result


FUSION_SEEDS = range(8)


def fusion_inputs(seed: int):
    """Smooth mask logits, classes among which stuff repeats, and sizes: some masks are tiny, or lose everywhere."""
    generator = torch.Generator().manual_seed(seed)
    num = (0, 1, 12, 12, 30, 30, 6, 20)[seed]
    sizes = ImageSizes(padded=(64, 96), image=(64, 96), result=((75, 101), (64, 96))[seed % 2])
    coarse = torch.randn(num, 1, 4, 6, generator=generator) * 4
    logits = nn.functional.interpolate(coarse, size=(16, 24), mode='bicubic')[:, 0]
    logits[::3] -= 5
    choice = torch.randint(len(PREDICTED), (num,), generator=generator)
    labels = torch.tensor(PREDICTED)[choice]
    return logits, labels, sizes


def fused(seed: int) -> np.ndarray:
    """The panoptic map of ``fusion_inputs``."""
    logits, labels, sizes = fusion_inputs(seed)
    segments = panoptic_map(logits, labels, NUM_THINGS, NUM_CLASSES, sizes, chunk_size=7)
    return partition(segments.numpy())


NUM_CATEGORIES = 6
QUALITY_SEEDS = range(12)


def random_maps(seed: int):
    """A map of ground truth with crowds and void, and a prediction that changes a part of it; and their segments."""
    generator = np.random.default_rng(seed)
    num = int(generator.integers(1, 14))
    size = (40, 60)
    coarse = generator.integers(0, num + 1, (5, 6))
    gt_map = np.kron(coarse, np.ones((8, 10), dtype=int)) * 1009
    pred_map = np.roll(gt_map, generator.integers(-3, 4, 2), (0, 1))
    noise = generator.integers(0, num + 3, size) * 1009
    pred_map = np.where(generator.random(size) < 0.1, noise, pred_map)
    gt = _segments(gt_map, generator.integers(0, NUM_CATEGORIES, num + 1))
    gt.is_crowd[:] = generator.random(len(gt.ids)) < 0.3
    categories = generator.integers(0, NUM_CATEGORIES, num + 3)
    pred = _segments(pred_map, categories)
    for i, id_ in enumerate(pred.ids):  # mostly right
        is_known = gt.ids == id_
        if is_known.any() and generator.random() < 0.8:
            pred.categories[i] = gt.categories[is_known][0]
    return gt_map, gt, pred_map, pred


def _segments(segment_map: np.ndarray, categories: np.ndarray) -> Segments:
    ids, areas = np.unique(segment_map[segment_map > 0], return_counts=True)
    return Segments(
        ids, categories[ids // 1009], areas.astype(np.float64), np.zeros(len(ids), dtype=bool)
    )


def changed_map(gt_map: np.ndarray, gt: Segments, seed: int):
    """A prediction for real ground truth: shifted, some segments left out, some with another category."""
    generator = np.random.default_rng(seed)
    pred_map = np.roll(gt_map, generator.integers(-20, 21, 2), (0, 1))
    lost = gt.ids[generator.random(len(gt.ids)) < 0.2]
    pred_map[np.isin(pred_map, lost)] = 0
    ids, areas = np.unique(pred_map[pred_map > 0], return_counts=True)
    position = np.array([np.flatnonzero(gt.ids == id_)[0] for id_ in ids], dtype=int)
    categories = gt.categories[position]
    is_wrong = generator.random(len(ids)) < 0.1
    categories[is_wrong] = (categories[is_wrong] + 1) % 133
    pred = Segments(ids, categories, areas.astype(np.float64), np.zeros(len(ids), dtype=bool))
    return pred_map, pred


def load() -> dict:
    """Load the golden file."""
    with np.load(Path(__file__).parent / 'panoptic.npz') as arrays:
        return dict(arrays)
