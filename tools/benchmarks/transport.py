"""Rows "transport" and "transport-growth": OTA's assignment, the solver alone and all of it.

Scenes are those of :mod:`.ota_scenes`, five levels, with predictions that have half learned their objects.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from mmdet.models.task_modules.assigners import BaseAssigner, SimOTAAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_setdet.models.assignment import OTAAssigner, decode_plan
from mmdet_setdet.models.ground_truths import GroundTruths

from .options import Options
from .ota_scenes import STRIDES, Scene, scene
from .peers.checkouts import find_checkout
from .peers.ota_authors import AuthorsOTA
from .timing import Case, Contender

CASE_GT_COUNTS = (7, 30)
SIZE = (800, 1216)
SIZES = ((200, 304), (400, 608), SIZE, (1600, 2432))
GT_COUNTS = (1, 7, 30, 100, 300)


def cases(options: Options) -> Iterator[Case]:
    """Yield solver and whole assignment for an image with 7 and 30 gts, and for a batch of 8 images."""
    height, width = options.size or SIZE
    if not options.batch_size:
        for count in CASE_GT_COUNTS:
            image = _scene(options, [count], (height, width))
            name = f'1 x {height}x{width}, {count} objects'
            peers = [_sim_ota(image)]
            if find_checkout('ota'):
                yield _solver_case(image, name)
                peers.insert(0, _authors(image))
            yield Case(f'assign, {name}', _ours(image), peers, num_different)
    batch_size = options.batch_size or 8
    counts = [1 + 9 * index % 20 for index in range(batch_size)]
    images = _scene(options, counts, (height, width))
    name = f'assign, {batch_size} x {height}x{width}, 1 to 20 objects'
    yield Case(name, _ours(images), [_one_by_one(images), _sim_ota(images)], num_different)


def growth_cases(options: Options) -> Iterator[Case]:
    """Yield the whole assignment, first with a growing image and thus more predictions, then with more gts."""
    for size in [options.size] if options.size else SIZES:
        image = _scene(options, [7], size)
        yield _growth_case(image, 7, at=('predictions', len(image.priors)))
    for count in GT_COUNTS:
        image = _scene(options, [count], options.size or SIZE)
        yield _growth_case(image, count, at=('objects', count))


def _growth_case(image: Scene, count: int, at: tuple[str, int]) -> Case:
    name = f'assign, {len(image.priors)} predictions, {count} objects'
    return Case(name, _ours(image), [_sim_ota(image)], num_different, at=at)


def num_different(ours: Tensor, peers: Tensor) -> float:
    """Count the predictions whose gt or class differs."""
    return float((ours.flatten() != peers.flatten()).sum())


def _scene(options: Options, counts: list[int], size: tuple[int, int]) -> Scene:
    """Draw a scene, on the requested device and in the requested precision."""
    images = scene(counts, size, seed=options.seed)
    return replace(
        images,
        priors=images.priors.to(options.device),
        objects=[gts.to(options.device) for gts in images.objects],
        logits=images.logits.to(options.device, options.torch_dtype),
        distances=images.distances.to(options.device),
    )


def _solver_case(image: Scene, name: str) -> Case:
    """Time the two solvers on the problems that the two assigners build for one image; their costs are not timed."""
    authors = AuthorsOTA(image.logits.shape[-1], STRIDES)
    authors.targets_of_scene(image, [0])
    [(supply, demand, costs, _)] = authors.problems
    assigner = OTAAssigner()
    gts = GroundTruths.from_instances(image.objects)
    [problem] = assigner.build_problems(image.logits, image.bboxes, image.priors, gts)
    background = len(image.objects[0])

    def our_suppliers() -> Tensor:
        # Our problem has only the candidates inside the centre prior; the others belong to the background.
        suppliers = torch.full_like(demand, background, dtype=torch.long)
        suppliers[problem.candidates[0]] = assigner.suppliers(problem, assigner.solve(problem))[0]
        return suppliers

    def authors_suppliers() -> Tensor:
        return decode_plan(authors.solve(supply, demand, costs)[None])

    ours = Contender('ours', lambda: assigner.solve(problem), our_suppliers)
    peer = Contender("authors'", lambda: authors.solve(supply, demand, costs), authors_suppliers)
    return Case(f'solve, {name}', ours, [peer], num_different)


def _ours(images: Scene) -> Contender:
    """Assign all images in one call."""
    assigner = OTAAssigner()
    bboxes = images.bboxes

    def run():
        gts = GroundTruths.from_instances(images.objects)
        return assigner.assign_batch(images.logits, bboxes, images.priors, gts)

    return Contender('ours', run, lambda: run().labels)


def _one_by_one(images: Scene) -> Contender:
    """Use our assigner by mmdet's interface, image by image."""
    assigner = OTAAssigner()
    bboxes = images.bboxes

    def run() -> list:
        return _assign_each(assigner, images.logits, bboxes, images)

    return Contender(
        'ours, image by image', run, lambda: torch.stack([result.labels for result in run()])
    )


def _sim_ota(images: Scene) -> Contender:
    """Use mmdet's SimOTA image by image, as its heads do; a different assignment, so it is not compared."""
    assigner = SimOTAAssigner()
    bboxes = images.bboxes
    scores = images.logits.sigmoid()
    return Contender('mmdet SimOTA', lambda: _assign_each(assigner, scores, bboxes, images))


def _assign_each(assigner: BaseAssigner, scores: Tensor, bboxes: Tensor, images: Scene) -> list:
    """Call ``assign`` for each image."""
    results = []
    for image_scores, image_bboxes, gts in zip(scores, bboxes, images.objects):
        predictions = InstanceData(scores=image_scores, bboxes=image_bboxes, priors=images.priors)
        results.append(assigner.assign(predictions, gts))
    return results


def _authors(images: Scene) -> Contender:
    """Compute what the authors do between their head and its losses."""
    authors = AuthorsOTA(images.logits.shape[-1], STRIDES)
    all_images = list(range(len(images.objects)))

    def run() -> Tensor:
        authors.problems.clear()
        labels, _, _ = authors.targets_of_scene(images, all_images)
        return labels

    def outputs() -> Tensor:
        labels = run()
        return torch.where(labels == authors.num_classes, -1, labels)

    return Contender("authors'", run, outputs)
