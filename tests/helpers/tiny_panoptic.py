"""A miniature in the layout of COCO's panoptic data set."""

import json

import mmcv
import numpy as np
from mmdet.datasets import CocoPanopticDataset

from mmdet_setdet.checkpoints.coco_ids import COCO_IDS, STUFF_IDS

SIZE = (60, 80)


def write_panoptic(root, num_images=2):
    """Write images of a sky, two persons, a crowd and an unlabelled strip; for training and validation the same."""
    things = CocoPanopticDataset.METAINFO['thing_classes']
    names = CocoPanopticDataset.METAINFO['classes']
    categories = [
        dict(id=id_, name=name, isthing=int(name in things))
        for id_, name in zip(COCO_IDS + STUFF_IDS, names)
    ]
    content = dict(images=[], annotations=[], categories=categories)
    for i in range(num_images):
        ids = np.full(SIZE, 70000 + i)
        ids[20:50, 10:30] = 300
        ids[20:50, 40 + i : 60] = 301
        ids[:10, 60:] = 302
        ids[55:] = 0
        png = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1).astype(np.uint8)
        for subset in ('train2017', 'val2017'):
            mmcv.imwrite(png[..., ::-1], str(root / f'annotations/panoptic_{subset}/{i}.png'))
            mmcv.imwrite(png, str(root / subset / f'{i}.jpg'))
        segments = []
        for id_, category, crowd in ((70000 + i, 187, 0), (300, 1, 0), (301, 1, 0), (302, 1, 1)):
            y, x = np.nonzero(ids == id_)
            box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
            segments.append(
                dict(id=id_, category_id=category, iscrowd=crowd, area=len(x), bbox=box)
            )
        content['images'].append(dict(id=i, file_name=f'{i}.jpg', height=SIZE[0], width=SIZE[1]))
        content['annotations'].append(
            dict(image_id=i, file_name=f'{i}.png', segments_info=segments)
        )
    for subset in ('train2017', 'val2017'):
        path = root / f'annotations/panoptic_{subset}.json'
        path.write_text(json.dumps(content))
    return root
