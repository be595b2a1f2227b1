"""Row "train-step": forward, loss, backward, clipped gradients and AdamW, from normalised images to new weights."""
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from . import authors
from .models import mmdet_model, our_model, random_batch
from .options import Options
from .timing import Case, Contender, max_abs_diff

OBJECTS = 8


def cases(options: Options) -> Iterator[Case]:
    """DN-DETR against mmdet's DAB-DETR, which has no denoising queries to carry, and both without denoising."""
    size, batch_size = options.size or (480, 640), options.batch_size or 2
    batch = random_batch(options, size, [OBJECTS] * batch_size)
    where = f'{batch_size} x {size[0]}x{size[1]}'

    theirs = mmdet_model('dab_detr_r50_50e', options)
    # Noise is drawn but has size 0, so that the loss can be compared with the authors'.
    ours = our_model(
        'dn_detr_r50_50e', options, theirs.state_dict(), denoising__label_noise_scale=0., denoising__box_noise_scale=0.)
    dab = theirs
    peers = [contender('mmdet DAB-DETR', dab, lambda: mmdet_loss(dab, *batch), options, comparable=False)]
    others = authors.dn_detr(options, ours.state_dict())
    if others is not None:
        peers.append(contender("authors'", others.model, lambda: others.loss(*batch), options))
    yield Case(f'DN-DETR R50, {where}', contender('ours', ours, lambda: mmdet_loss(ours, *batch), options), peers,
               max_abs_diff)

    # Fresh weights: those above have been trained on.
    theirs = mmdet_model('dab_detr_r50_50e', options)
    ours = our_model('dab_detr_r50_50e', options, theirs.state_dict(), decoder__eps=1e-5)  # as in mmdet's decoder
    yield Case(
        f'DAB-DETR R50, {where}',
        contender('ours', ours, lambda: mmdet_loss(ours, *batch), options),
        [contender('mmdet', theirs, lambda: mmdet_loss(theirs, *batch), options)], max_abs_diff)


def mmdet_loss(model: nn.Module, inputs: Tensor, samples: list) -> Tensor:
    """The total loss of a detector in mmdet's frame."""
    return model.parse_losses(model.loss(inputs, samples))[0]


def contender(name: str, model: nn.Module, loss: Callable[[], Tensor], options: Options,
              comparable: bool = True) -> Contender:
    """A training step as published: AdamW, the backbone at a tenth of the learning rate, gradients clipped at 0.1.

    Ours is torch's fused AdamW, as in our configs; the peers' code bases use the plain one.
    """
    model.train()
    backbone, rest = [], []
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            (backbone if key.startswith('backbone') else rest).append(parameter)
    optimizer = torch.optim.AdamW([dict(params=rest), dict(params=backbone, lr=1e-5)],
                                  lr=1e-4, weight_decay=1e-4, fused=name == 'ours')

    def run() -> None:
        optimizer.zero_grad()
        with options.precision():
            total = loss()
        total.backward()
        torch.nn.utils.clip_grad_norm_(rest + backbone, 0.1)
        optimizer.step()

    def outputs() -> list[Tensor]:
        with options.precision(), torch.no_grad():
            return [loss()]

    return Contender(name, run, outputs if comparable else None)
