"""A detector and a COCO-style data set small enough to train within a test."""

import importlib.util
import itertools
import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ('circle', 'square', 'star')
CATEGORY_IDS = (3, 5, 9)

CONFIG = """
custom_imports = dict(imports=['mmdet_setdet'], allow_failed_imports=False)
default_scope = 'mmdet'
classes = ('circle', 'square', 'star')
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[114.] * 3, std=[58.] * 3, pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=8, num_stages=4, out_indices=(2, 3), init_cfg=None,
                  norm_cfg=dict(type='BN', requires_grad=True)),
    neck=dict(type='FPN', in_channels=[32, 64], out_channels=16, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=16, stacked_convs=1, feat_channels=16,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=2, scales_per_octave=1, ratios=[1.0],
                              strides=[16, 32]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
                   sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(nms_pre=100, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CocoDataset', data_root='{root}/', ann_file='annotations.json', data_prefix=dict(img='images/'),
                 metainfo=dict(classes=classes), pipeline=pipeline))
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CocoDataset', data_root='{root}/', ann_file='annotations.json', data_prefix=dict(img='images/'),
                 metainfo=dict(classes=classes), test_mode=True, pipeline=pipeline))
test_evaluator = dict(type='CocoMetric', ann_file='{root}/annotations.json', metric='bbox')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100)]
default_hooks = dict(
    timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=1),
    param_scheduler=dict(type='ParamSchedulerHook'), checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'), visualization=dict(type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=1),
               dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
"""


def coco_dict(num_images: int = 5, size: int = 64) -> dict:
    """Return COCO annotations of ``num_images`` images with one to three boxes each."""
    random = np.random.default_rng(0)
    annotations = []
    for image in range(num_images):
        for _ in range(1 + image % 3):
            w, h = random.integers(16, 33, 2).tolist()
            x, y = random.integers(0, size - 33, 2).tolist()
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    category_id=CATEGORY_IDS[len(annotations) % 3],
                )
            )
    images = []
    for image in range(1, num_images + 1):
        images.append(dict(id=image, file_name=f'{image}.jpg', width=size, height=size))
    categories = [dict(id=i, name=name) for i, name in zip(CATEGORY_IDS, CLASSES)]
    return dict(images=images, annotations=annotations, categories=categories)


def write_dataset(root: Path, num_images: int = 5) -> dict:
    """Write the images and annotations of :func:`coco_dict` under ``root``; return the annotations."""
    coco = coco_dict(num_images)
    (root / 'images').mkdir(parents=True)
    random = np.random.default_rng(1)
    for image in coco['images']:
        size = image['height'], image['width']
        canvas = random.integers(0, 120, (*size, 3), dtype=np.uint8)
        for annotation in coco['annotations']:
            if annotation['image_id'] == image['id']:
                x, y, w, h = annotation['bbox']
                canvas[y : y + h, x : x + w] = 40 + 20 * annotation['category_id']
        cv2.imwrite(str(root / 'images' / image['file_name']), canvas)
    write_annotations(root, coco)
    return coco


def write_annotations(root: Path, coco) -> None:
    """Replace the annotation file under ``root``."""
    text = coco if isinstance(coco, str) else json.dumps(coco)
    (root / 'annotations.json').write_text(text)


def write_config(folder: Path, root: Path) -> str:
    """Write the detector's config into ``folder``, with its data under ``root``; return its path."""
    path = folder / 'tiny.py'
    path.write_text(CONFIG.replace('{root}', str(root)))
    return str(path)


def tool(name: str):
    """Import the module ``tools/NAME.py``, whose ``main(argv)`` is the command; NAME may contain a folder."""
    path = Path(__file__).parents[2] / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tools_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_COUNT = itertools.count()


def new_name() -> str:
    """Return a fresh ``experiment_name``: mmengine keeps a logger and visualiser per name until the process ends."""
    return f'tiny_{next(_COUNT)}'
