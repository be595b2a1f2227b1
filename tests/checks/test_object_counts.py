"""Images with more objects than queries or results are warned of at the start, once, with what to set."""

import pytest
from helpers.tiny_detector import coco_dict, new_name, tool, write_annotations, write_dataset
from mmengine.config import Config

from mmdet_setdet.checks import check_object_counts
from mmdet_setdet.errors import InputError


class Images:
    """Stands for a data set below a wrapper, of images with 1, 2, 3, 1 and 2 objects."""

    def __init__(self, tmp_path):
        from mmdet.datasets import CocoDataset

        write_dataset(tmp_path / 'data')
        self.dataset = CocoDataset(
            data_root=f'{tmp_path}/data/',
            ann_file='annotations.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=('circle', 'square', 'star')),
            serialize_data=False,
        )


def warned(warnings, model, dataset, is_training):
    warnings.clear()
    check_object_counts(model, dataset, is_training)
    return list(warnings)


def test_queries_and_results(tmp_path, warnings):
    dataset = Images(tmp_path)
    model = dict(num_queries=2, test_cfg=dict(max_per_img=1))
    (message,) = warned(warnings, model, dataset, is_training=True)
    assert message.startswith(
        '1 of 5 images that are trained on have more objects than model.num_queries allows, which is 2'
    )
    assert message.endswith('data/images/3.jpg; set model.num_queries=3 or more')
    queries, results = warned(warnings, model, dataset, is_training=False)
    assert '1 of 5 images that are evaluated' in queries
    assert '3 of 5 images that are evaluated' in results
    assert results.endswith('set model.test_cfg.max_per_img=3 or more')


def test_enough_room(tmp_path, warnings):
    dataset = Images(tmp_path)
    two_stage = dict(test_cfg=dict(rpn=dict(max_per_img=1), rcnn=dict(max_per_img=3)))
    for model in (dict(num_queries=3), dict(num_queries=1, num_patterns=3), two_stage, {}):
        assert not warned(warnings, model, dataset, is_training=False)


def test_no_results(tmp_path):
    with pytest.raises(InputError, match=r'model.test_cfg.max_per_img=-1: must be 1 or more'):
        check_object_counts(dict(test_cfg=dict(max_per_img=-1)), Images(tmp_path), True)


def test_the_tools_warn_once_per_run(tmp_path, caplog):
    from helpers.fuzz import logged_warnings, quick_runs, write_fuzz_config

    root = tmp_path / 'data'
    write_dataset(root)
    crowd = coco_dict()
    crowd['annotations'][-1]['iscrowd'] = 1  # of image 5, which has two
    write_annotations(root, crowd)
    config = write_fuzz_config(tmp_path, root)
    cfg = Config.fromfile(config)
    assert cfg.model.num_queries == 12
    options = ['model.num_queries=1', f'experiment_name={new_name()}']
    argv = [config, '--work-dir', str(tmp_path), '--cfg-options', *options]
    with quick_runs(), logged_warnings() as messages:
        tool('train').main(argv)
    messages = [message for message in messages if 'num_queries' in message]
    assert len(messages) == 2
    assert '2 of 5 images that are trained on' in messages[0]
    assert '2 of 5 images that are evaluated' in messages[1]
