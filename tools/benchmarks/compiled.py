"""Row "compile": what torch.compile brings to models of this package, backbone and encoder compiled, or all of them."""

import copy
from collections.abc import Iterator

from torch import nn

from mmdet_setdet.registry import MODELS

from .backbone import contender as backbone_contender
from .inference import mmdet_contender
from .models import mmdet_model, our_model, perturb_weights, random_batch
from .options import Options
from .timing import Case, Contender, max_abs_diff
from .train_step import NO_NOISE, NUM_GTS, mmdet_loss
from .train_step import contender as step_contender

PARTS = ('backbone', 'encoder')
PLAIN = 'not compiled'


def cases(options: Options) -> Iterator[Case]:
    """Yield DN-DETR with ResNet-50, training step and inference, and CrossFormer-S, forward and training."""
    yield _step(options)
    yield _inference(options)
    for training in (False, True):
        yield _crossformer(options, training)


def _dn_detrs(options: Options) -> tuple[nn.Module, nn.Module]:
    """Return two with the same weights, the first with compiled parts."""
    weights = mmdet_model('dab_detr_r50_50e', options).state_dict()
    plain = our_model('dn_detr_r50_50e', options, weights, **NO_NOISE)
    compiled = copy.deepcopy(plain)
    for part in PARTS:
        getattr(compiled, part).compile()
    return compiled, plain


def _step(options: Options) -> Case:
    height, width = options.size or (480, 640)
    batch_size = options.batch_size or 2
    batch = random_batch(options, (height, width), [NUM_GTS] * batch_size)

    def side(name: str, model: nn.Module) -> Contender:
        return step_contender(name, model, lambda: mmdet_loss(model, *batch), options, fused=True)

    compiled, plain = _dn_detrs(options)
    return Case(
        f'DN-DETR R50 training step, {batch_size} x {height}x{width}',
        side('ours', compiled),
        [side(PLAIN, plain)],
        max_abs_diff,
    )


def _inference(options: Options) -> Case:
    height, width = options.size or (800, 1066)
    batch_size = options.batch_size or 1
    batch = random_batch(options, (height, width), [0] * batch_size)
    compiled, plain = _dn_detrs(options)
    return Case(
        f'DN-DETR R50 inference, {batch_size} x {height}x{width}',
        mmdet_contender('ours', compiled, batch, options),
        [mmdet_contender(PLAIN, plain, batch, options)],
        max_abs_diff,
    )


def _crossformer(options: Options, training: bool) -> Case:
    height, width = options.size or (224, 224)
    batch_size = options.batch_size or 4
    images, _ = random_batch(options, (height, width), [0] * batch_size)
    arch = options.model.get('arch', 'small')
    plain = perturb_weights(MODELS.build(dict(type='CrossFormer', arch=arch)), options.seed)
    compiled = copy.deepcopy(plain)
    compiled.compile()
    mode = 'training' if training else 'forward'
    return Case(
        f'CrossFormer {arch} {mode}, {batch_size} x {height}x{width}',
        backbone_contender('ours', compiled, images, training, options),
        [backbone_contender(PLAIN, plain, images, training, options)],
        max_abs_diff,
    )
