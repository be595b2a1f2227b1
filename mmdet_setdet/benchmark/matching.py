"""Row "matching": the costs and the Hungarian matching of one training step, all decoder layers and images."""
from collections.abc import Iterator, Sequence

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from ..models.assignment import Matches
from ..models.ground_truths import GroundTruths
from . import authors
from .models import NUM_CLASSES, our_config, random_batch, random_boxes
from .options import DTYPES, Options
from .timing import Case, Contender

LAYERS, QUERIES, MOST_OBJECTS = 6, 300, 20
MatchSet = set[tuple[int, int, int, int]]  # (layer, image, query, object)


def cases(options: Options) -> Iterator[Case]:
    """DN-DETR's matching at batch 2 and 16, or at the batch size asked for, with 1 to 20 objects an image."""
    cfg = our_config('dab_detr_r50_50e', options.model).model.train_cfg.assigner
    ours, mmdets = TASK_UTILS.build(cfg), TASK_UTILS.build({**cfg, 'type': 'HungarianAssigner'})
    matcher = authors.dn_detr_matcher(options)
    for batch_size in [options.batch_size] if options.batch_size else [2, 16]:
        generator = torch.Generator().manual_seed(options.seed)
        counts = torch.randint(1, MOST_OBJECTS + 1, (batch_size, ), generator=generator).tolist()
        _, samples = random_batch(options, options.size or (480, 640), counts)
        logits, boxes = noisy_predictions(samples, generator)
        logits, boxes = logits.to(options.device, DTYPES[options.dtype]), boxes.to(options.device)
        peers = [mmdets_contender(mmdets, logits, boxes, samples)]
        if matcher is not None:
            peers.append(authors_contender(matcher, logits, boxes, samples))
        name = f'{LAYERS} layers, {batch_size} images, {QUERIES} queries, 1 to {MOST_OBJECTS} objects'
        yield Case(name, our_contender(ours, logits, boxes, samples), peers, differing)


def differing(ours: MatchSet, theirs: MatchSet) -> float:
    """Matches that only one side has."""
    return float(len(ours ^ theirs))


def noisy_predictions(samples: Sequence[DetDataSample], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits (L, B, Q, K) and boxes (L, B, Q, 4): two noisy copies of each object, the better the later the layer,
    among random boxes, as in a model that has learnt something."""
    logits = torch.randn(LAYERS, len(samples), QUERIES, NUM_CLASSES, generator=generator) - 4
    boxes = random_boxes(generator, LAYERS, len(samples), QUERIES)
    gts = GroundTruths.from_samples([sample.cpu() for sample in samples])
    for layer in range(LAYERS):
        for image, count in enumerate(gts.counts):
            chosen = torch.randperm(QUERIES, generator=generator)[:2 * count]
            objects = gts.boxes[image, :count].repeat(2, 1)
            noise = torch.randn(objects.shape, generator=generator) * 0.3 / (layer + 1)
            boxes[layer, image, chosen] = (objects * (1 + noise)).clamp(0.01, 0.99)
            logits[layer, image, chosen, gts.labels[image, :count].repeat(2)] += 1 + layer
    return logits, boxes


def our_contender(assigner, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]) -> Contender:
    """Ground truths, costs and plan of the whole batch, as in our heads' loss."""

    def run() -> tuple[Matches, GroundTruths]:
        gts = GroundTruths.from_samples(samples)
        return assigner.assign_batch(assigner.costs(logits, boxes, gts), gts.counts, gts.metas), gts

    def outputs() -> MatchSet:
        plan, gts = run()
        images, queries, width = logits.shape[1], logits.shape[2], gts.labels.shape[1]
        return {(pred // queries // images, pred // queries % images, pred % queries, gt % width)
                for pred, gt in zip(plan.pred.tolist(), plan.gt.tolist())}

    return Contender('ours', run, outputs)


def mmdets_contender(assigner, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]) -> Contender:
    """mmdet's assigner for each layer and image, on boxes in pixels as its head hands them over."""

    def run() -> list[Tensor]:
        results = []
        for layer_logits, layer_boxes in zip(logits, boxes):
            for scores, normalised, sample in zip(layer_logits, layer_boxes, samples):
                height, width = sample.img_shape
                factor = normalised.new_tensor([width, height, width, height]).unsqueeze(0).repeat(len(normalised), 1)
                predictions = InstanceData(scores=scores, bboxes=bbox_cxcywh_to_xyxy(normalised) * factor)
                results.append(assigner.assign(predictions, sample.gt_instances, sample.metainfo).gt_inds)
        return results

    def outputs() -> MatchSet:
        return {(*divmod(problem, len(samples)), query, gt_inds[query].item() - 1)
                for problem, gt_inds in enumerate(run()) for query in gt_inds.nonzero()[:, 0].tolist()}

    return Contender('mmdet', run, outputs)


def authors_contender(matcher, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]) -> Contender:
    """The matcher of DN-DETR's authors, for each layer."""
    targets = authors.targets_of(samples)

    def run() -> list:
        return [matcher(dict(pred_logits=a, pred_boxes=b), targets) for a, b in zip(logits, boxes)]

    def outputs() -> MatchSet:
        return {(layer, image, query, gt) for layer, plans in enumerate(run()) for image, pairs in enumerate(plans)
                for query, gt in zip(*(indices.tolist() for indices in pairs))}

    return Contender("authors'", run, outputs)
