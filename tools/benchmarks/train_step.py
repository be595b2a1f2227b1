"""Row "train-step": forward, loss, backward, clipped gradients and AdamW, from normalised images to new weights."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .machine import count_operations, matrix_products
from .models import mmdet_model, our_model, random_batch
from .options import Options
from .peers.detr_authors import load_dn_detr
from .timing import Case, Contender, max_abs_diff

NUM_GTS = 8  # ground truths per image
# Noise is drawn but has size 0, so that losses can be compared.
NO_NOISE = dict(denoising__label_noise_scale=0.0, denoising__box_noise_scale=0.0)


def cases(options: Options) -> Iterator[Case]:
    """Yield DN-DETR against mmdet's DAB-DETR, which carries no denoising queries, and DAB-DETR on both sides."""
    height, width = options.size or (480, 640)
    batch_size = options.batch_size or 2
    batch = random_batch(options, (height, width), [NUM_GTS] * batch_size)
    shape = f'{batch_size} x {height}x{width}'

    sides = DNDETRSides(options)
    peers = [sides.mmdets(batch), *sides.authors(batch), sides.best_of_machine(batch)]
    yield Case(f'DN-DETR R50, {shape}', sides.ours(batch), peers, max_abs_diff)

    # New weights: those above have been trained on.
    mmdets = mmdet_model('dab_detr_r50_50e', options)
    ours = our_model(
        'dab_detr_r50_50e', options, mmdets.state_dict(), decoder__eps=1e-5
    )  # as in mmdet's decoder
    peers = [contender('mmdet', mmdets, lambda: mmdet_loss(mmdets, *batch), options)]
    our_contender = contender('ours', ours, lambda: mmdet_loss(ours, *batch), options, fused=True)
    yield Case(f'DAB-DETR R50, {shape}', our_contender, peers, max_abs_diff)


class DNDETRSides:
    """Our DN-DETR with ResNet-50, mmdet's DAB-DETR and the authors' DN-DETR, with the same weights.

    Args:
        options (Options): The options of the run.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._mmdets = mmdet_model('dab_detr_r50_50e', options)
        self._ours = our_model('dn_detr_r50_50e', options, self._mmdets.state_dict(), **NO_NOISE)
        self._authors = load_dn_detr(options, self._ours.state_dict())

    def ours(self, batch: tuple[Tensor, list]) -> Contender:
        """Return our training step on a batch of images and samples."""

        def loss() -> Tensor:
            return mmdet_loss(self._ours, *batch)

        return contender('ours', self._ours, loss, self.options, fused=True)

    def best_of_machine(self, batch: tuple[Tensor, list]) -> Contender:
        """Return matrix products of as many operations as our forward and backward pass take."""
        self._ours.train()
        operations = count_operations(lambda: mmdet_loss(self._ours, *batch).backward())
        self._ours.zero_grad()
        return matrix_products(operations, self.options)

    def mmdets(self, batch: tuple[Tensor, list]) -> Contender:
        """Return the training step of mmdet's DAB-DETR."""

        def loss() -> Tensor:
            return mmdet_loss(self._mmdets, *batch)

        return contender('mmdet DAB-DETR', self._mmdets, loss, self.options, comparable=False)

    def authors(self, batch: tuple[Tensor, list]) -> list[Contender]:
        """Return the authors' training step, if their code is available."""
        if self._authors is None:
            return []
        return [
            contender(
                "authors'", self._authors.model, lambda: self._authors.loss(*batch), self.options
            )
        ]


def mmdet_loss(model: nn.Module, inputs: Tensor, samples: list) -> Tensor:
    """Return the total loss of a detector with mmdet's interface."""
    total, _ = model.parse_losses(model.loss(inputs, samples))
    return total


def contender(
    name: str,
    model: nn.Module,
    loss: Callable[[], Tensor],
    options: Options,
    comparable: bool = True,
    fused: bool = False,
) -> Contender:
    """Return a training step as published.

    AdamW, a tenth of the learning rate for the backbone, gradients clipped at 0.1. Ours is ``fused``, torch's fused
    AdamW, as in our configs; the peers' code bases use the plain one.
    """
    model.train()
    trained = {
        key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad
    }
    backbone = [parameter for key, parameter in trained.items() if key.startswith('backbone')]
    rest = [parameter for key, parameter in trained.items() if not key.startswith('backbone')]
    groups = [dict(params=rest), dict(params=backbone, lr=1e-5)]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, weight_decay=1e-4, fused=fused)

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
