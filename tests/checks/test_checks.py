"""Bad input: each kind is an error, or a warning, that names the culprit."""

import copy
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny_detector import (
    coco_dict,
    new_name,
    tool,
    write_annotations,
    write_config,
    write_dataset,
)
from mmengine.runner import CheckpointLoader
from pycocotools.cocoeval import COCOeval

from mmdet_setdet.checks import CheckedCOCO, check_annotations, check_whole
from mmdet_setdet.errors import InputError


@pytest.fixture
def tiny(tmp_path):
    """(config, folder of the data, its annotations); each test spoils something."""
    root = tmp_path / 'data'
    coco = write_dataset(root)
    return write_config(tmp_path, root), root, coco


def train(config, *options):
    work_dir = str(Path(config).parent / 'work')
    return tool('train').main(
        [
            config,
            '--work-dir',
            work_dir,
            '--cfg-options',
            'train_cfg.max_epochs=1',
            f'experiment_name={new_name()}',
            *options,
        ]
    )


def test_annotation_file_missing(tiny):
    config, root, _ = tiny
    (root / 'annotations.json').unlink()
    with pytest.raises(
        InputError, match=r'data/annotations.json: no such annotation file; set data_root'
    ):
        train(config)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"images": [', 'annotations.json: not JSON'),
        ('[1, 2]', 'annotations.json: not a COCO annotation file'),
        ({'info': {}, 'data': []}, r'no list "images" \(it has: info, data\)'),
        ({'images': [], 'annotations': [], 'categories': []}, 'its list "images" is empty'),
    ],
)
def test_annotation_file_not_coco(tiny, content, message):
    config, root, _ = tiny
    write_annotations(root, content)
    with pytest.raises(InputError, match=message):
        train(config)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        (
            'category_id',
            4,
            r'annotation 2 has category_id 4, which is not among the 3 ids in "categories"',
        ),
        ('bbox', [1, 2, 3], r'annotation 2 has the bbox \[1, 2, 3\]; it must be four numbers'),
        (
            'bbox',
            [float('nan'), 2, 3, 4],
            r'annotation 2 \(image 2\) has a bbox that is not finite',
        ),
        ('area', None, r'annotation 2 has no "area"'),
    ],
)
def test_bad_annotation(tiny, field, value, message):
    config, root, coco = tiny
    if value is None:
        del coco['annotations'][1][field]
    else:
        coco['annotations'][1][field] = value
    write_annotations(root, coco)
    with pytest.raises(InputError, match=message):
        train(config)


def test_boxes_that_are_left_out_are_counted(warnings):
    coco = coco_dict()
    good = copy.deepcopy(coco)
    annotations = coco['annotations']
    annotations[0]['bbox'] = [100, 3, 10, 10]
    annotations[1]['bbox'] = [3, 3, 0.5, 10]
    annotations[2]['area'] = 0
    annotations[3]['image_id'] = 77
    check_annotations(coco, 'a.json')
    assert len(warnings) == 3
    assert any(
        'a.json: 1 of 9 boxes have no part inside their image and are left out, for example annotation 1 of '
        'image 1: [100, 3, 10, 10]' in message
        for message in warnings
    )
    assert any('2 of 9 boxes are less than a pixel wide or high' in message for message in warnings)
    assert any('belong to an image that the file does not list' in message for message in warnings)
    del warnings[:]
    check_annotations(good, 'a.json')
    assert not warnings


def test_classes_that_the_file_does_not_have(tiny):
    config, root, coco = tiny
    coco['categories'][2]['name'] = 'stars'
    write_annotations(root, coco)
    with pytest.raises(
        InputError,
        match=r'1 of the 3 classes of the config are not in the file: star. It has: circle, '
        r'square, stars. Set metainfo',
    ):
        train(config)


@pytest.mark.parametrize('count', [2, 80])
def test_num_classes_against_the_data(tiny, count):
    config, _, _ = tiny
    with pytest.raises(
        InputError,
        match=rf'tiny.py: the data set has 3 classes \(circle, square, star\), '
        rf'model.bbox_head.num_classes is {count}; '
        r'set model.bbox_head.num_classes=3$',
    ):
        train(config, f'model.bbox_head.num_classes={count}')


@pytest.mark.parametrize('serialize', [True, False])
def test_nothing_left_to_train_on(tiny, serialize):
    config, _, _ = tiny
    with pytest.raises(InputError, match='check filter_cfg'):
        train(
            config,
            'train_dataloader.dataset.filter_cfg.min_size=1000',
            f'train_dataloader.dataset.serialize_data={serialize}',
        )


def test_image_missing(tiny):
    config, root, _ = tiny
    (root / 'images' / '3.jpg').unlink()
    with pytest.raises(
        InputError, match=r'images/3.jpg: no such image file; check data_root and data_prefix'
    ):
        train(config)


@pytest.mark.parametrize('keep', [0, 3, 0.7])
def test_image_cut_short(tiny, keep):
    config, root, _ = tiny
    path = root / 'images' / '3.jpg'
    content = path.read_bytes()
    size = int(keep * len(content)) if keep < 1 else keep
    path.write_bytes(content[:size])
    with pytest.raises(InputError, match=r'images/3.jpg: (cut short|not a readable image)'):
        train(config)


def test_image_that_claims_to_be_huge(tiny):
    """A few bytes that would unpack to 3.6 gigapixels."""
    config, root, _ = tiny
    header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b'')):
        checksum = zlib.crc32(kind + data)
        content += struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)
    (root / 'images' / '3.jpg').write_bytes(content)
    with pytest.raises(InputError, match=r'images/3.jpg: not a readable image .*PIXELS'):
        train(config)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_whole_images_pass_also_with_bytes_behind_them(tmp_path, suffix):
    path = tmp_path / f'image{suffix}'
    cv2.imwrite(str(path), np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    check_whole(str(path))
    content = path.read_bytes()
    path.write_bytes(content + b'made by a camera')
    check_whole(str(path))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match='cut short'):
        check_whole(str(path))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(config, its checkpoint after one epoch)."""
    folder = tmp_path_factory.mktemp('trained')
    write_dataset(folder / 'data')
    config = write_config(folder, folder / 'data')
    train(config)
    return config, str(folder / 'work' / 'epoch_1.pth')


class TestCheckpointOfAnotherModel:
    """One trained checkpoint, tested with what it does not fit."""

    def test_other_classes(self, trained, tmp_path):
        config, checkpoint = trained
        root = tmp_path / 'data'
        coco = write_dataset(root)
        coco['categories'] = coco['categories'] + [dict(id=11, name='cross')]
        write_annotations(root, coco)
        config = Path(write_config(tmp_path, root))
        config.write_text(
            config.read_text()
            .replace("'star')", "'star', 'cross')")
            .replace('classes=3', 'classes=4')
        )
        with pytest.raises(
            InputError,
            match=r'epoch_1.pth: 3 classes in the checkpoint, 4 in the model .*load_from=',
        ):
            tool('test').main([str(config), checkpoint, '--work-dir', str(tmp_path)])
        # Fine-tuning is what such a checkpoint is for.
        train(str(config), f'load_from={checkpoint}')

    def test_other_architecture(self, trained, tmp_path):
        config, checkpoint = trained
        with pytest.raises(
            InputError,
            match=r'epoch_1.pth: it belongs to another model \(weights: \d+ of another '
            r'shape, first backbone.*; \d+ missing, first backbone.layer1.0.conv3',
        ):
            tool('test').main(
                [
                    config,
                    checkpoint,
                    '--work-dir',
                    str(tmp_path),
                    '--cfg-options',
                    'model.backbone.depth=50',
                    'model.neck.in_channels=[128,256]',
                ]
            )

    def test_nothing_fits(self, trained, tmp_path):
        config, _ = trained
        torch.save(dict(state_dict=dict(weight=torch.zeros(3))), tmp_path / 'other.pth')
        with pytest.raises(InputError, match=r'other.pth: none of its weights fits this model'):
            train(config, f'load_from={tmp_path / "other.pth"}')

    def test_half_a_file(self, trained, tmp_path):
        config, checkpoint = trained
        half = tmp_path / 'half.pth'
        half.write_bytes(Path(checkpoint).read_bytes()[:20000])
        with pytest.raises(InputError, match=r'half.pth: incomplete or damaged'):
            tool('test').main([config, str(half), '--work-dir', str(tmp_path)])


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'modle.backbone.depth=50',
            r'the config takes no "modle"; did you mean model.backbone.depth\?',
        ),
        (
            'model.backbne.depth=50',
            r'model \(RetinaNet\) takes no "backbne"; did you mean model.backbone.depth\?',
        ),
        (
            'model.backbone.dept=50',
            r'model.backbone \(ResNet\) takes no "dept"; did you mean model.backbone.depth\?',
        ),
        (
            'train_dataloader.batchsize=4',
            r'takes no "batchsize"; did you mean train_dataloader.batch_size\?',
        ),
        ('randomness.sed=1', r'did you mean randomness.seed\?'),
        (
            'optim_wrapper.optimizer.lrr=1',
            r'\(SGD\) takes no "lrr"; did you mean optim_wrapper.optimizer.lr\?',
        ),
        ('model.test_cfg.mns.iou_threshold=1', r'did you mean model.test_cfg.nms.iou_threshold\?'),
        ('param_scheduler.3.end=1', 'is a list of 1; 3 is not an index'),
        ('model.backbone.depth.x=1', 'model.backbone.depth is 18 and has nothing below it'),
    ],
)
def test_option_that_nothing_reads(tmp_path, option, message):
    config = write_config(tmp_path, tmp_path / 'not read')
    with pytest.raises(InputError, match=message):
        tool('train').main([config, '--cfg-options', option])


def test_options_in_our_scope_know_mmdets_classes(tmp_path):
    config = Path(write_config(tmp_path, tmp_path))
    config.write_text(
        config.read_text().replace("default_scope = 'mmdet'", "default_scope = 'mmdet_setdet'")
    )
    with pytest.raises(
        InputError, match=r'model.backbone \(ResNet\) takes no "dept"; did you mean'
    ):
        tool('train').main([str(config), '--cfg-options', 'model.backbone.dept=50'])


def test_new_options_that_something_reads(tmp_path):
    from mmengine.config import Config

    from mmdet_setdet.checks import merge_options

    cfg = Config.fromfile(write_config(tmp_path, tmp_path))
    cfg.pop('randomness')
    merge_options(
        cfg,
        {
            'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': 'x.pth',
            'model.backbone.frozen_stages': 1,
            'randomness.seed': 3,
            'env_cfg.dist_cfg.timeout': 60,
            'find_unused_parameters': True,
            'auto_scale_lr.enable': True,
            'optim_wrapper.clip_grad.max_norm': 0.1,
            'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.1,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            'train_dataloader.persistent_workers': False,
            'train_dataloader.dataset.filter_cfg.min_size': 3,
            'param_scheduler.0.verbose': True,
            'model.test_cfg.min_bbox_size': 1,
            'train_dataloader.dataset.pipeline.2.backend': 'pillow',
            'model.bbox_head.loss_cls.type': 'GHMC',
            'model.bbox_head.loss_cls.bins': 7,
        },
    )
    assert cfg.model.backbone.init_cfg.checkpoint == 'x.pth'
    assert cfg.param_scheduler[0].verbose
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1


def test_annotations_are_completed_for_the_evaluation(tmp_path, warnings, capsys):
    """Every object is found, also the one of id 0, which pycocotools would count as missed."""
    coco = write_dataset(tmp_path)
    for number, annotation in enumerate(coco['annotations']):
        annotation['id'] = number
        del annotation['iscrowd']
    write_annotations(tmp_path, coco)
    read = CheckedCOCO(str(tmp_path / 'annotations.json'))
    assert '9 of 9 annotations have no "iscrowd"' in warnings[0]
    assert 'the annotations are numbered anew' in warnings[1]
    names = ('image_id', 'category_id', 'bbox')
    found = [{name: each[name] for name in names} for each in coco['annotations']]
    evaluation = COCOeval(read, read.loadRes([dict(each, score=1) for each in found]), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1


def test_flipped_byte_of_a_weight(tmp_path):
    """torch reads such a file without a word."""
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(4000)) + 2003] ^= 64
    path.write_bytes(content)
    assert torch.load(path)['state_dict']['weight'].any()
    with pytest.raises(InputError, match='weights.pth: incomplete or damaged, .* checksum'):
        CheckpointLoader.load_checkpoint(str(path))


def test_without_options_an_error_in_training_is_raised_as_it_is(tmp_path):
    write_dataset(tmp_path / 'data')
    config = Path(write_config(tmp_path, tmp_path / 'data'))
    config.write_text(config.read_text().replace('in_channels=16, st', 'in_channels=8, st'))
    argv = [str(config), '--work-dir', str(tmp_path)]
    with pytest.raises(RuntimeError, match='channels'):
        tool('train').main(argv)
    with pytest.raises(
        InputError, match='first training step fails with .*train_cfg.max_epochs=1.*: RuntimeError'
    ):
        train(str(config))
