"""Row "masks": DETR with its mask head, from normalised images to masks, and a training step of the mask head."""

from collections.abc import Iterator

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from torch import Tensor, nn

from .inference import in_evaluation
from .models import our_config, perturb_weights, random_batch
from .options import Options
from .peers.detr_authors import load_detr_instance
from .timing import Case, Contender, max_abs_diff
from .train_step import NUM_GTS, contender, mmdet_loss

CONFIG = 'detr_r50_instance'


def cases(options: Options) -> Iterator[Case]:
    """Yield inference with the masks of all 100 queries, and a step on the frozen detector."""
    ours = build(options)
    authors = load_detr_instance(options, ours.state_dict())

    height, width = options.size or (800, 1066)
    batch_size = options.batch_size or 1
    inputs, samples = random_batch(options, (height, width), [0] * batch_size)
    shape = f'{batch_size} x {height}x{width}'
    predict = in_evaluation(ours, lambda: ours.predict(inputs, samples), options)
    without = in_evaluation(ours, lambda: without_masks(ours, inputs, samples), options)
    peers = [Contender('ours without masks', without)]
    our_logits = in_evaluation(ours, lambda: [mask_logits(ours, inputs, samples)], options)
    if authors is not None:
        run = in_evaluation(authors.model, lambda: authors.predict(inputs, samples), options)
        forward = in_evaluation(authors.model, lambda: [authors(inputs)['pred_masks']], options)
        peers.append(Contender("authors'", run, forward))
    yield Case(
        f'DETR R50 inference, {shape}',
        Contender('ours', predict, our_logits),
        peers,
        max_abs_diff,
    )

    height, width = options.size or (480, 640)
    batch_size = options.batch_size or 2
    batch = random_batch(options, (height, width), [NUM_GTS] * batch_size)
    add_boxes_as_masks(batch[1])
    shape = f'{batch_size} x {height}x{width}'
    peers = []
    if authors is not None:
        peers = [contender("authors'", authors.model, lambda: authors.loss(*batch), options)]
    step = contender('ours', ours, lambda: mmdet_loss(ours, *batch), options, fused=True)
    yield Case(f'mask head step, {shape}', step, peers, max_abs_diff)


def build(options: Options) -> nn.Module:
    """Build our model with random weights, without dropout, so that losses can be compared."""
    torch.manual_seed(options.seed)
    model = MODELS.build(our_config(CONFIG, options.model).model)
    perturb_weights(model, options.seed)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    return model.to(options.device)


def without_masks(model: nn.Module, inputs: Tensor, samples: list) -> list:
    """Predict boxes alone."""
    states = model.forward_transformer(model.extract_feat(inputs), samples)
    return model.bbox_head.predict(samples, **states)


def mask_logits(model: nn.Module, inputs: Tensor, samples: list) -> Tensor:
    """Return the mask logits of all queries, (B, M, h, w)."""
    feats = model.extract_feat(inputs)
    head_inputs, encoded = model.decode_tokens(*model.pre_transformer(feats, samples))
    features = model._mask_features(feats, **encoded)
    states = head_inputs['hidden_states'][-1]
    logits = [model.mask_head(queries, image, features) for image, queries in enumerate(states)]
    return torch.stack(logits)


def add_boxes_as_masks(samples: list) -> None:
    """Give each gt a mask that fills its box."""
    for sample in samples:
        height, width = sample.img_shape
        masks = np.zeros((len(sample.gt_instances), height, width), dtype=np.uint8)
        for mask, box in zip(masks, sample.gt_instances.bboxes.int().tolist()):
            x1, y1, x2, y2 = box
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
