"""Row "inference": from normalised images to boxes in pixels; compared are logits and normalised boxes."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .machine import count_operations, matrix_products
from .models import mmdet_model, our_model, random_batch
from .options import Options
from .peers.detr_authors import AuthorsModel, load_detr, load_dn_detr
from .peers.transformers_detr import build_detr, outputs_of
from .timing import Case, Contender, max_abs_diff

Batch = tuple[Tensor, list]


def cases(options: Options) -> Iterator[Case]:
    """Yield DETR, DAB-DETR and DN-DETR with ResNet-50."""
    height, width = options.size or (800, 1066)
    batch_size = options.batch_size or 1
    batch = random_batch(options, (height, width), [0] * batch_size)
    shape = f'{batch_size} x {height}x{width}'

    mmdets = mmdet_model('detr_r50_150e', options)
    ours = our_model('detr_r50_150e', options, mmdets.state_dict())
    peers = [mmdet_contender('mmdet', mmdets, batch, options)]
    peers += authors_contenders(load_detr(options, ours.state_dict()), batch, options)
    peers += transformers_contenders(build_detr(options, ours.state_dict()), batch, options)
    peers.append(best_of_machine(ours, batch, options))
    yield Case(
        f'DETR R50, {shape}', mmdet_contender('ours', ours, batch, options), peers, max_abs_diff
    )

    mmdets = mmdet_model('dab_detr_r50_50e', options)
    ours = our_model(
        'dab_detr_r50_50e', options, mmdets.state_dict(), decoder__eps=1e-5
    )  # as in mmdet's decoder
    peers = [mmdet_contender('mmdet', mmdets, batch, options)]
    yield Case(
        f'DAB-DETR R50, {shape}', mmdet_contender('ours', ours, batch, options), peers, max_abs_diff
    )

    ours = our_model('dn_detr_r50_50e', options, mmdets.state_dict())
    peers = [mmdet_contender('mmdet DAB-DETR', mmdets, batch, options, comparable=False)]
    peers += authors_contenders(load_dn_detr(options, ours.state_dict()), batch, options)
    peers.append(best_of_machine(ours, batch, options))
    yield Case(
        f'DN-DETR R50, {shape}', mmdet_contender('ours', ours, batch, options), peers, max_abs_diff
    )


def in_evaluation(model: nn.Module, run: Callable, options: Options) -> Callable:
    """Return ``run`` in the precision of the options and without gradients, the model in evaluation mode."""
    model.eval()

    def infer():
        with torch.no_grad(), options.precision():
            return run()

    return infer


def mmdet_contender(
    name: str, model: nn.Module, batch: Batch, options: Options, comparable: bool = True
) -> Contender:
    """Return a detector with mmdet's interface: timed up to its results, compared before the post-processing."""
    inputs, samples = batch
    predict = in_evaluation(model, lambda: model.predict(inputs, samples), options)
    forward = in_evaluation(model, lambda: model(inputs, samples, mode='tensor'), options)

    def last_layer() -> list[Tensor]:
        logits, boxes, *_ = forward()
        return [logits[-1], boxes[-1]]

    return Contender(name, predict, last_layer if comparable else None)


def best_of_machine(model: nn.Module, batch: Batch, options: Options) -> Contender:
    """Return matrix products of as many operations as a forward pass takes."""
    model.eval()
    operations = count_operations(lambda: model(*batch, mode='tensor'))
    return matrix_products(operations, options)


def authors_contenders(
    authors: AuthorsModel | None, batch: Batch, options: Options
) -> list[Contender]:
    """Return the authors' model with their post-processing, if it is available."""
    if authors is None:
        return []
    inputs, samples = batch
    predict = in_evaluation(authors.model, lambda: authors.predict(inputs, samples), options)
    forward = in_evaluation(authors.model, lambda: authors(inputs), options)

    def last_layer() -> list[Tensor]:
        outputs = forward()
        return [outputs['pred_logits'], outputs['pred_boxes']]

    return [Contender("authors'", predict, last_layer)]


def transformers_contenders(
    model: nn.Module | None, batch: Batch, options: Options
) -> list[Contender]:
    """Return the model of transformers, without post-processing, if it is available."""
    if model is None:
        return []
    forward = in_evaluation(model, lambda: model(batch[0]), options)
    return [Contender('transformers', forward, lambda: outputs_of(forward()))]
