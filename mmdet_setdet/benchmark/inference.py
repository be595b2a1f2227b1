"""Row "inference": from normalised images to boxes in pixels; logits and normalised boxes are what is compared."""
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from . import authors, transformers_detr
from .models import mmdet_model, our_model, random_batch
from .options import Options
from .timing import Case, Contender, max_abs_diff


def cases(options: Options) -> Iterator[Case]:
    """DETR, DAB-DETR and DN-DETR with ResNet-50."""
    size, batch_size = options.size or (800, 1066), options.batch_size or 1
    batch = random_batch(options, size, [0] * batch_size)
    where = f'{batch_size} x {size[0]}x{size[1]}'

    theirs = mmdet_model('detr_r50_150e', options)
    ours = our_model('detr_r50_150e', options, theirs.state_dict())
    peers = [mmdet_contender('mmdet', theirs, batch, options)]
    peers += authors_contender(authors.detr(options, ours.state_dict()), batch, options)
    hugging = transformers_detr.build(options, ours.state_dict())
    if hugging is not None:
        peers.append(
            contender('transformers', hugging, lambda: hugging(batch[0]), options, transformers_detr.outputs_of))
    yield Case(f'DETR R50, {where}', mmdet_contender('ours', ours, batch, options), peers, max_abs_diff)

    theirs = mmdet_model('dab_detr_r50_50e', options)
    ours = our_model('dab_detr_r50_50e', options, theirs.state_dict(), decoder__eps=1e-5)  # as in mmdet's decoder
    yield Case(f'DAB-DETR R50, {where}', mmdet_contender('ours', ours, batch, options),
               [mmdet_contender('mmdet', theirs, batch, options)], max_abs_diff)

    ours = our_model('dn_detr_r50_50e', options, theirs.state_dict())
    peers = [mmdet_contender('mmdet DAB-DETR', theirs, batch, options, comparable=False)]
    peers += authors_contender(authors.dn_detr(options, ours.state_dict()), batch, options)
    yield Case(f'DN-DETR R50, {where}', mmdet_contender('ours', ours, batch, options), peers, max_abs_diff)


def contender(name: str, model: nn.Module, run: Callable, options: Options, outputs: Callable = None) -> Contender:
    """Runs in evaluation mode, without gradients; ``outputs`` maps what ``run`` returns to what is compared."""
    model.eval()

    def inferred(function: Callable = run):
        with torch.no_grad(), options.precision():
            return function()

    return Contender(name, inferred, None if outputs is None else lambda: outputs(inferred()))


def mmdet_contender(name: str, model: nn.Module, batch, options: Options, comparable: bool = True) -> Contender:
    """A detector in mmdet's frame: timed with its results, compared by what they are made of."""
    inputs, samples = batch
    timed = contender(name, model, lambda: model.predict(inputs, samples), options)
    if comparable:
        compared = contender(name, model, lambda: model(inputs, samples, mode='tensor'), options, _last_layer)
        timed.outputs = compared.outputs
    return timed


def _last_layer(predictions) -> list[Tensor]:
    logits, boxes = predictions[:2]
    return [logits[-1], boxes[-1]]


def authors_contender(others, batch, options: Options) -> list[Contender]:
    """The authors' model, if there is one, with their post-processing."""
    if others is None:
        return []
    inputs, samples = batch
    timed = contender("authors'", others.model, lambda: others.predict(inputs, samples), options)
    compared = contender("authors'", others.model, lambda: others(inputs), options,
                         lambda outputs: [outputs['pred_logits'], outputs['pred_boxes']])
    timed.outputs = compared.outputs
    return [timed]
