"""Rows "transport" and "transport-growth": OTA's assignment, the solver alone and all of it.

Scenes are those of :mod:`ota_scenes`, five levels, with predictions that have half learnt their objects.
"""
from collections.abc import Iterator
from dataclasses import replace

import torch
from mmdet.models.task_modules.assigners import SimOTAAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from ..models.assignment import OTAAssigner, decode_plan
from ..models.ground_truths import GroundTruths
from .authors_ota import AuthorsOTA, checkout
from .options import DTYPES, Options
from .ota_scenes import STRIDES, Scene, scene
from .timing import Case, Contender

OBJECTS = 7, 30
SIZES = (200, 304), (400, 608), (800, 1216), (1600, 2432)
OBJECT_COUNTS = 1, 7, 30, 100, 300


def cases(options: Options) -> Iterator[Case]:
    """Solver and whole assignment for an image of 800x1216 with 7 and 30 objects, and for a batch of 8 such images."""
    size = options.size or (800, 1216)
    if not options.batch_size:
        for objects in OBJECTS:
            image = _on(options, scene([objects], size, seed=options.seed))
            name = f'1 x {size[0]}x{size[1]}, {objects} objects'
            yield from _solver_case(image, name)
            peers = [_authors(image)] if checkout() else []
            yield Case(f'assign, {name}', _ours(image), [*peers, _sim_ota(image)], differing)
    batch = options.batch_size or 8
    images = _on(options, scene([1 + 9 * index % 20 for index in range(batch)], size, seed=options.seed))
    name = f'assign, {batch} x {size[0]}x{size[1]}, 1 to 20 objects'
    yield Case(name, _ours(images), [_one_by_one(images), _sim_ota(images)], differing)


def growth_cases(options: Options) -> Iterator[Case]:
    """The whole assignment while the image, and with it the number of predictions, or the number of objects grows."""
    for size in [options.size] if options.size else SIZES:
        image = _on(options, scene([7], size, seed=options.seed))
        yield Case(f'assign, {len(image.priors)} predictions, 7 objects', _ours(image), [_sim_ota(image)], differing,
                   at=('predictions', len(image.priors)))
    for objects in OBJECT_COUNTS:
        image = _on(options, scene([objects], options.size or (800, 1216), seed=options.seed))
        yield Case(f'assign, {len(image.priors)} predictions, {objects} objects', _ours(image), [_sim_ota(image)],
                   differing, at=('objects', objects))


def differing(ours: Tensor, theirs: Tensor) -> float:
    """Predictions whose object or class is not the same."""
    return float((ours.flatten() != theirs.flatten()).sum())


def _on(options: Options, images: Scene) -> Scene:
    """The scene on the device and in the precision that is asked for."""
    return replace(
        images, priors=images.priors.to(options.device), objects=[gts.to(options.device) for gts in images.objects],
        logits=images.logits.to(options.device, DTYPES[options.dtype]), distances=images.distances.to(options.device))


def _solver_case(image: Scene, name: str) -> Iterator[Case]:
    """The two solvers on the problems that the two assignments make of one image; their costs are not timed."""
    if not checkout():
        return
    authors = AuthorsOTA(image.logits.shape[-1], STRIDES)
    authors.targets_of_scene(image, [0])
    [(supply, demand, costs, _)] = authors.problems
    assigner = OTAAssigner()
    gts = GroundTruths.from_instances(image.objects)
    [problem] = assigner.build_problems(image.logits, image.bboxes, image.priors, gts)

    def our_suppliers() -> Tensor:
        suppliers = torch.full_like(demand, len(image.objects[0]), dtype=torch.long)
        suppliers[problem.candidates[0]] = assigner.suppliers(problem, assigner.solve(problem))[0]
        return suppliers

    ours = Contender('ours', lambda: assigner.solve(problem), our_suppliers)
    theirs = Contender("authors'", lambda: authors.solve(supply, demand, costs),
                       lambda: decode_plan(authors.solve(supply, demand, costs)[None]))
    yield Case(f'solve, {name}', ours, [theirs], differing)


def _ours(images: Scene) -> Contender:
    """All images in one call."""
    assigner, bboxes = OTAAssigner(), images.bboxes

    def run():
        gts = GroundTruths.from_instances(images.objects)
        return assigner.assign_batch(images.logits, bboxes, images.priors, gts)

    return Contender('ours', run, lambda: run().labels)


def _one_by_one(images: Scene) -> Contender:
    """Ours by mmdet's interface."""
    assigner, bboxes = OTAAssigner(), images.bboxes

    def run() -> list:
        return [assigner.assign(InstanceData(scores=scores, bboxes=boxes, priors=images.priors), gts)
                for scores, boxes, gts in zip(images.logits, bboxes, images.objects)]

    return Contender('ours, image by image', run, lambda: torch.stack([result.labels for result in run()]))


def _sim_ota(images: Scene) -> Contender:
    """mmdet's SimOTA, image by image as its heads call it; another assignment, so not compared."""
    assigner, bboxes, scores = SimOTAAssigner(), images.bboxes, images.logits.sigmoid()

    def run() -> list:
        return [assigner.assign(InstanceData(scores=one, bboxes=boxes, priors=images.priors), gts)
                for one, boxes, gts in zip(scores, bboxes, images.objects)]

    return Contender('mmdet SimOTA', run)


def _authors(images: Scene) -> Contender:
    """What the authors do between their head and its losses."""
    authors = AuthorsOTA(images.logits.shape[-1], STRIDES)
    every = list(range(len(images.objects)))

    def run() -> Tensor:
        authors.problems.clear()
        return authors.targets_of_scene(images, every)[0]

    def outputs() -> Tensor:
        labels = run()
        return torch.where(labels == authors.num_classes, -1, labels)

    return Contender("authors'", run, outputs)
