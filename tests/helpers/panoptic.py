"""Panoptic maps of COCO."""

from pathlib import Path

import mmcv
from golden import panoptic_cases

from mmdet_setdet.checks.panoptic import CheckedCOCOPanoptic
from mmdet_setdet.evaluation.panoptic_quality import gt_segments, rgb_to_id

NUM_IMAGES = 40


def real_maps(root: Path) -> list:
    """Ground truth of COCO's validation images and predictions made from it: (map, segments) of both per image."""
    folder = root / 'annotations'
    coco = CheckedCOCOPanoptic(str(folder / 'panoptic_val2017.json'))
    index = {id_: i for i, id_ in enumerate(coco.cats)}
    maps = []
    for image_id in sorted(coco.imgs)[:NUM_IMAGES]:
        path = folder / 'panoptic_val2017' / coco.imgs[image_id]['segm_file']
        gt_map = rgb_to_id(mmcv.imread(str(path), channel_order='rgb'))
        gt = gt_segments(coco.imgToAnns[image_id], index, str(path))
        maps.append((gt_map, gt, *panoptic_cases.changed_map(gt_map, gt, image_id)))
    return maps
