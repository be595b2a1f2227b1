"""Row "matching": the costs and the Hungarian matching of one training step, all decoder layers and images."""

from collections.abc import Iterator, Sequence

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_setdet.models.assignment import Matches
from mmdet_setdet.models.ground_truths import GroundTruths

from .models import NUM_CLASSES, our_config, random_batch, random_boxes
from .options import Options
from .peers.detr_authors import as_targets, load_dn_detr_matcher
from .timing import Case, Contender

LAYERS = 6
SIZES = (  # images, fewest and most objects per image, queries
    (2, 1, 20, 300),
    (16, 1, 20, 300),
    (16, 100, 100, 300),
    (16, 300, 300, 900),
)
MatchSet = set[tuple[int, int, int, int]]  # (layer, image, query, gt)


def cases(options: Options) -> Iterator[Case]:
    """Yield DN-DETR's matching for each of SIZES, or for 1 to 20 objects at the requested batch size."""
    cfg = our_config('dab_detr_r50_50e', options.model).model.train_cfg.assigner
    ours = TASK_UTILS.build(cfg)
    mmdets = TASK_UTILS.build({**cfg, 'type': 'HungarianAssigner'})
    authors = load_dn_detr_matcher(options)
    for batch_size, fewest, most, queries in sizes(options):
        generator = torch.Generator().manual_seed(options.seed)
        counts = torch.randint(fewest, most + 1, (batch_size,), generator=generator).tolist()
        _, samples = random_batch(options, options.size or (480, 640), counts)
        logits, boxes = noisy_predictions(samples, queries, generator)
        logits = logits.to(options.device, options.torch_dtype)
        boxes = boxes.to(options.device)
        peers = [mmdets_contender(mmdets, logits, boxes, samples)]
        if authors is not None:
            peers.append(authors_contender(authors, logits, boxes, samples))
        objects = f'{fewest} to {most}' if fewest < most else most
        yield Case(
            f'{LAYERS} layers, {batch_size} images, {queries} queries, {objects} objects',
            ours=our_contender(ours, logits, boxes, samples),
            peers=peers,
            compare=num_different,
        )


def sizes(options: Options) -> Sequence[tuple[int, int, int, int]]:
    """Return the rows of SIZES, or one of the requested batch size."""
    if options.batch_size:
        return [(options.batch_size, *SIZES[0][1:])]
    return SIZES


def num_different(ours: MatchSet, peers: MatchSet) -> float:
    """Count the matches that only one side has."""
    return float(len(ours ^ peers))


def noisy_predictions(
    samples: Sequence[DetDataSample], num_queries: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw predictions of a model that has learned something.

    Among random boxes there are two noisy copies of each gt, with less noise the later the layer.

    Returns:
        tuple[Tensor, Tensor]: Logits (L, B, Q, K) and boxes (L, B, Q, 4).
    """
    logits = torch.randn(LAYERS, len(samples), num_queries, NUM_CLASSES, generator=generator) - 4
    boxes = random_boxes(generator, LAYERS, len(samples), num_queries)
    gts = GroundTruths.from_samples([sample.cpu() for sample in samples])
    for layer in range(LAYERS):
        for image, count in enumerate(gts.counts):
            queries = torch.randperm(num_queries, generator=generator)[: 2 * count]
            gt_boxes = gts.boxes[image, :count].repeat(2, 1)
            labels = gts.labels[image, :count].repeat(2)
            noise = torch.randn(gt_boxes.shape, generator=generator) * 0.3 / (layer + 1)
            boxes[layer, image, queries] = (gt_boxes * (1 + noise)).clamp(0.01, 0.99)
            logits[layer, image, queries, labels] += 1 + layer
    return logits, boxes


def our_contender(
    assigner, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]
) -> Contender:
    """Compute ground truths, costs and matches of the whole batch, as in our heads' loss."""

    def run() -> tuple[Matches, GroundTruths]:
        gts = GroundTruths.from_samples(samples)
        costs = assigner.costs(logits, boxes, gts)
        return assigner.assign_batch(costs, gts.counts, gts.metas), gts

    def outputs() -> MatchSet:
        matches, gts = run()
        _, num_images, num_queries, _ = logits.shape
        padded_gts = gts.labels.shape[1]
        found = set()
        for pred, gt in zip(matches.pred.tolist(), matches.gt.tolist()):
            problem, query = divmod(pred, num_queries)
            layer, image = divmod(problem, num_images)
            found.add((layer, image, query, gt % padded_gts))
        return found

    return Contender('ours', run, outputs)


def mmdets_contender(
    assigner, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]
) -> Contender:
    """Call mmdet's assigner for each layer and image, on boxes in pixels, as its head does."""

    def assign(scores: Tensor, normalised: Tensor, sample: DetDataSample) -> Tensor:
        height, width = sample.img_shape
        factor = normalised.new_tensor([width, height, width, height])
        factor = factor.unsqueeze(0).repeat(len(normalised), 1)
        predictions = InstanceData(scores=scores, bboxes=bbox_cxcywh_to_xyxy(normalised) * factor)
        return assigner.assign(predictions, sample.gt_instances, sample.metainfo).gt_inds

    def run() -> list[Tensor]:
        results = []
        for layer_logits, layer_boxes in zip(logits, boxes):
            for scores, normalised, sample in zip(layer_logits, layer_boxes, samples):
                results.append(assign(scores, normalised, sample))
        return results

    def outputs() -> MatchSet:
        found = set()
        for problem, gt_inds in enumerate(run()):
            layer, image = divmod(problem, len(samples))
            for query in gt_inds.nonzero()[:, 0].tolist():
                found.add((layer, image, query, gt_inds[query].item() - 1))
        return found

    return Contender('mmdet', run, outputs)


def authors_contender(
    matcher, logits: Tensor, boxes: Tensor, samples: list[DetDataSample]
) -> Contender:
    """Call the matcher of DN-DETR's authors for each layer."""
    targets = as_targets(samples)

    def run() -> list:
        results = []
        for layer_logits, layer_boxes in zip(logits, boxes):
            outputs = dict(pred_logits=layer_logits, pred_boxes=layer_boxes)
            results.append(matcher(outputs, targets))
        return results

    def outputs() -> MatchSet:
        found = set()
        for layer, images in enumerate(run()):
            for image, (queries, gts) in enumerate(images):
                for query, gt in zip(queries.tolist(), gts.tolist()):
                    found.add((layer, image, query, gt))
        return found

    return Contender("authors'", run, outputs)
