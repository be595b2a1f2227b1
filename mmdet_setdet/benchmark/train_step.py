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

    sides = DNDETRSides(options)
    yield Case(f'DN-DETR R50, {where}', sides.ours(batch), [sides.mmdets(batch), *sides.authors(batch)], max_abs_diff)

    # Fresh weights: those above have been trained on.
    theirs = mmdet_model('dab_detr_r50_50e', options)
    ours = our_model('dab_detr_r50_50e', options, theirs.state_dict(), decoder__eps=1e-5)  # as in mmdet's decoder
    yield Case(
        f'DAB-DETR R50, {where}',
        contender('ours', ours, lambda: mmdet_loss(ours, *batch), options),
        [contender('mmdet', theirs, lambda: mmdet_loss(theirs, *batch), options)], max_abs_diff)


class DNDETRSides:
    """Our DN-DETR with ResNet-50, mmdet's DAB-DETR and the authors' DN-DETR, with the same weights.

    Args:
        options (Options): What the benchmark was asked for.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._mmdets = mmdet_model('dab_detr_r50_50e', options)
        # Noise is drawn but has size 0, so that the loss can be compared with the authors'.
        self._ours = our_model('dn_detr_r50_50e', options, self._mmdets.state_dict(), denoising__label_noise_scale=0.,
                               denoising__box_noise_scale=0.)
        self._authors = authors.dn_detr(options, self._ours.state_dict())

    def ours(self, batch: tuple[Tensor, list]) -> Contender:
        """A training step of ours on images and their samples."""
        return contender('ours', self._ours, lambda: mmdet_loss(self._ours, *batch), self.options)

    def mmdets(self, batch: tuple[Tensor, list]) -> Contender:
        """One of mmdet's DAB-DETR."""
        return contender(
            'mmdet DAB-DETR', self._mmdets, lambda: mmdet_loss(self._mmdets, *batch), self.options, comparable=False)

    def authors(self, batch: tuple[Tensor, list]) -> list[Contender]:
        """One of the authors', if their code is there."""
        if self._authors is None:
            return []
        return [contender("authors'", self._authors.model, lambda: self._authors.loss(*batch), self.options)]


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
        with options.precision():
            total = loss()
        total.backward()
        torch.nn.utils.clip_grad_norm_(rest + backbone, 0.1)
        optimizer.step()
        optimizer.zero_grad()  # at the end, so that gradients count as memory of the step

    def outputs() -> list[Tensor]:
        with options.precision(), torch.no_grad():
            return [loss()]

    return Contender(name, run, outputs if comparable else None)
