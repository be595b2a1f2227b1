"""Write tests/golden/panoptic.npz: what the authors' mask head and panopticapi compute for golden/panoptic_cases.py.

Run by hand. It needs plain checkouts of facebookresearch/detr and cocodataset/panopticapi below ``$SETDET_REF``, in
folders named ``owner+name``, torchvision as make_golden.py does, and for the real maps COCO at ``$SETDET_COCO``::

    SETDET_REF=~/checkouts SETDET_COCO=~/coco python tests/golden/make_golden_panoptic.py
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from golden import panoptic_cases  # noqa: E402
from golden.make_golden import authors_on_cpu  # noqa: E402
from helpers.panoptic import real_maps  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from mmdet_setdet.checkpoints.key_maps import our_name  # noqa: E402

REPOSITORIES = ('facebookresearch+detr', 'cocodataset+panopticapi')


def checkout(folder: str) -> Path:
    return Path(os.environ['SETDET_REF']) / folder


def build_authors(weights: dict):
    """The authors' model and criterion with our weights, and their post-processing."""
    import main
    import models

    argv = '--coco_path - --device cpu --enc_layers 2 --dec_layers 3 --num_queries 20 --dropout 0 --masks'
    args = main.get_args_parser().parse_args([*argv.split(), '--dataset_file', 'coco_panoptic'])
    model, criterion, postprocessors = models.build_model(args)
    names = {name: our_name('detr-panoptic', name) for name in model.state_dict()}
    assert set(names.values()) == set(weights), set(names.values()) ^ set(weights)
    model.double()
    criterion.double()
    model.load_state_dict({name: weights[ours] for name, ours in names.items()})
    return model.train(), criterion, postprocessors, names


def nested(inputs, samples):
    """The authors' batch and targets."""
    from util.misc import NestedTensor

    padding = torch.ones(len(inputs), *inputs.shape[-2:], dtype=torch.bool)
    targets = []
    for index, sample in enumerate(samples):
        height, width = sample.img_shape
        padding[index, :height, :width] = False
        gts = sample.gt_instances
        size = torch.tensor([width, height, width, height])
        x1, y1, x2, y2 = (gts.bboxes / size).unbind(-1)
        boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1).double()
        masks = gts.masks.to_tensor(torch.bool, 'cpu')
        targets.append(dict(labels=gts.labels, boxes=boxes, masks=masks))
    return NestedTensor(inputs, padding), targets


def model_results() -> dict:
    """Losses, gradients, mask logits, masks and the panoptic map of the authors' model."""
    model, criterion, postprocessors, names = build_authors(panoptic_cases.build().state_dict())
    images, targets = nested(*panoptic_cases.batch())
    outputs = model(images)
    losses = criterion(outputs, targets)
    terms = dict(loss_mask=losses['loss_mask'], loss_dice=losses['loss_dice'])
    sum(terms.values()).backward()
    parameters = {names[name]: parameter for name, parameter in model.named_parameters()}
    result = panoptic_cases.pack(terms, parameters)
    result['mask_logits'] = outputs['pred_masks'].detach()[:, ::5, ::2, ::2].float().numpy()

    model.eval()
    image, sample = panoptic_cases.image()
    with torch.no_grad():
        outputs = model(nested(image, [sample])[0])
    size, loaded = (torch.tensor([shape]) for shape in (sample.img_shape, sample.ori_shape))
    detected = postprocessors['bbox'](outputs, loaded)
    [found] = postprocessors['segm'](detected, outputs, loaded, size)
    is_thing = found['labels'] < panoptic_cases.NUM_THINGS
    order = found['scores'][is_thing].argsort(descending=True, stable=True)
    masks = found['masks'][is_thing][order][:, 0].bool().numpy()
    [panoptic] = postprocessors['panoptic'](outputs, size, loaded)
    return dict(result, masks=np.packbits(masks), panoptic=as_partition(panoptic))


def as_partition(panoptic: dict) -> np.ndarray:
    """The authors' result as ``panoptic_cases.partition``."""
    from panopticapi.utils import rgb2id

    with Image.open(io.BytesIO(panoptic['png_string'])) as png:
        ids = rgb2id(np.array(png, dtype=np.uint32)).astype(int)
    segments = np.full(ids.shape, panoptic_cases.NUM_CLASSES)
    for info in panoptic['segments_info']:
        segments[ids == info['id']] = info['category_id'] + 1000 * info['id']
    return panoptic_cases.partition(segments)


def fused(seed: int) -> np.ndarray:
    """The authors' panoptic map of ``panoptic_cases.fusion_inputs``."""
    from models.segmentation import PostProcessPanoptic

    masks, labels, sizes = panoptic_cases.fusion_inputs(seed)
    logits = torch.zeros(1, len(labels), panoptic_cases.NUM_CLASSES + 1)
    logits[0, range(len(labels)), labels] = 20
    outputs = dict(
        pred_logits=logits, pred_masks=masks[None], pred_boxes=torch.zeros(1, len(labels), 4)
    )
    process = PostProcessPanoptic({i: i <= 90 for i in range(201)})
    [panoptic] = process(outputs, [sizes.image], [sizes.result])
    return as_partition(panoptic)


def quality(maps: list, num_categories: int) -> np.ndarray:
    """IoU, TP, FP and FN per category by panopticapi, of (map, segments) of ground truth and prediction per image."""
    from panopticapi.evaluation import pq_compute_single_core
    from panopticapi.utils import id2rgb

    annotations = []
    with tempfile.TemporaryDirectory() as folder:
        for index, (gt_map, gt, pred_map, pred) in enumerate(maps):
            pair = []
            for kind, segment_map, segments in (('gt', gt_map, gt), ('pred', pred_map, pred)):
                file_name = f'{kind}{index}.png'
                Image.fromarray(id2rgb(segment_map)).save(Path(folder) / file_name)
                infos = [
                    dict(id=int(id_), category_id=int(c), area=int(area), iscrowd=int(crowd))
                    for id_, c, area, crowd in zip(
                        segments.ids, segments.categories, segments.areas, segments.is_crowd
                    )
                ]
                pair.append(dict(image_id=index, file_name=file_name, segments_info=infos))
            annotations.append(pair)
        categories = dict.fromkeys(range(num_categories))
        stat = pq_compute_single_core(0, annotations, folder, folder, categories)
    counts = [stat[c] for c in range(num_categories)]
    return np.array([[c.iou, c.tp, c.fp, c.fn] for c in counts])


def main() -> None:
    """Runs the authors' code and says how far ours is from it."""
    init_default_scope('mmdet')
    ours = panoptic_cases.ours()
    for seed in panoptic_cases.FUSION_SEEDS:
        ours[f'fused {seed}'] = panoptic_cases.fused(seed)
    authors_on_cpu(checkout(REPOSITORIES[0]))
    sys.path.insert(0, str(checkout(REPOSITORIES[1])))
    theirs = model_results()
    theirs.update({f'fused {seed}': fused(seed) for seed in panoptic_cases.FUSION_SEEDS})
    for key, value in theirs.items():
        difference = np.abs(ours[key].astype(float) - value).max()
        print(f'{key}: {difference:.1e} of {np.abs(value).max():.3g}, spread {value.std():.2g}')
    theirs['mask_logits'] = theirs['mask_logits'].round(5)
    for seed in panoptic_cases.QUALITY_SEEDS:
        maps = [panoptic_cases.random_maps(seed)]
        theirs[f'quality {seed}'] = quality(maps, panoptic_cases.NUM_CATEGORIES)
    theirs['quality of real maps'] = quality(real_maps(Path(os.environ['SETDET_COCO'])), 133)
    for folder in REPOSITORIES:
        command = ['git', '-C', str(checkout(folder)), 'rev-parse', 'HEAD']
        revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        theirs[folder.replace('+', '/')] = np.array(revision.strip())
    np.savez_compressed(TESTS / 'golden/panoptic.npz', **theirs)


if __name__ == '__main__':
    main()
