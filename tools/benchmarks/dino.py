"""Row "dino": DINO with ResNet-50 on four scales against mmdet's, a training step and inference."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from .inference import mmdet_contender
from .models import mmdet_model, our_model, random_batch
from .options import Options
from .timing import Case, Contender, max_abs_diff
from .train_step import NUM_GTS, contender, mmdet_loss

CONFIG = 'dino_r50_4scale_12e'
# mmdet wants noise; so little changes no loss.
NOISE = 1e-9


def cases(options: Options) -> Iterator[Case]:
    """Yield a training step, with its memory, and inference, both at 480x640 by default."""
    height, width = options.size or (480, 640)
    shape = f'{height}x{width}'
    quiet = {'dn_cfg.label_noise_scale': NOISE, 'dn_cfg.box_noise_scale': NOISE}
    mmdets, ours = same_models(options, quiet)

    batch_size = options.batch_size or 2
    batch = random_batch(options, (height, width), [NUM_GTS] * batch_size)
    yield Case(
        f'DINO R50 step, {batch_size} x {shape}',
        contender('ours', ours, lambda: mmdet_loss(ours, *batch), options, fused=True),
        [contender('mmdet', mmdets, lambda: mmdet_loss(mmdets, *batch), options)],
        max_abs_diff,
        memory=True,
    )

    # New weights: those above have been trained on.
    mmdets, ours = same_models(options, quiet)
    image = random_batch(options, (height, width), [0])
    yield Case(
        f'DINO R50 inference, 1 x {shape}',
        sorted_outputs(mmdet_contender('ours', ours, image, options)),
        [sorted_outputs(mmdet_contender('mmdet', mmdets, image, options))],
        max_abs_diff,
    )


def sorted_outputs(contender: Contender) -> Contender:
    """Sort what is compared over the queries, whose order hangs on rounding where two proposals are as good."""

    def outputs() -> list[Tensor]:
        return [values.sort(1).values for values in contender.outputs()]

    return replace(contender, outputs=outputs)


def same_models(options: Options, changes: dict) -> tuple[nn.Module, nn.Module]:
    """mmdet's DINO and ours with the same weights, and mmdet's arithmetic in ours.

    All queries have the same content, so that their order does not matter.
    """
    mmdets = mmdet_model(CONFIG, options, changes)
    content = mmdets.query_embedding.weight
    with torch.no_grad():
        content.copy_(content[:1].expand_as(content))
    position_head = mmdets.decoder.ref_point_head.layers[0]
    ours = our_model(
        CONFIG,
        options,
        mmdets.state_dict(),
        bbox_head__eps=1e-5,
        decoder__num_feats=position_head.in_features // 4,
        **{key.replace('.', '__'): value for key, value in changes.items()},
    )
    return mmdets, ours
