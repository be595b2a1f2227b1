"""The authors' panoptic checkpoints become ours: every name, every class, and what the config says of them."""

import pytest
import torch
from helpers import author_names
from helpers.configs import CONFIGS
from helpers.tiny_detector import tool
from mmdet.apis import init_detector
from mmdet.datasets import CocoPanopticDataset

from mmdet_setdet.checkpoints.coco_ids import COCO_IDS, STUFF_IDS
from mmdet_setdet.checkpoints.convert import convert

CLASSES = CocoPanopticDataset.METAINFO['classes']


@pytest.fixture(scope='module')
def theirs(tmp_path_factory):
    shapes = author_names.panoptic(author_names.load()['detr'])
    path = tmp_path_factory.mktemp('authors') / 'panoptic.pth'
    torch.save(dict(model=author_names.light_weights(shapes)), path)
    return str(path)


def test_ids_are_those_of_the_annotation_file(coco128):
    import json

    content = json.loads((coco128 / 'annotations/panoptic_val2017.json').read_text())
    assert tuple(c['id'] for c in content['categories']) == COCO_IDS + STUFF_IDS
    assert tuple(c['name'] for c in content['categories']) == CLASSES


def test_every_name_finds_its_place_and_every_class_its_row(theirs, tmp_path, capsys):
    tool('convert_checkpoint').main([theirs, str(tmp_path / 'ours.pth')])
    assert '(detr-panoptic, guessed)' in capsys.readouterr().out
    converted = torch.load(tmp_path / 'ours.pth', weights_only=True)
    rows = converted['state_dict']['bbox_head.fc_cls.weight'][:, 0].tolist()
    assert rows == [*COCO_IDS, *STUFF_IDS, 250]
    assert converted['meta']['dataset_meta']['classes'] == CLASSES
    model = init_detector(
        str(CONFIGS / 'detr_r50_panoptic.py'), str(tmp_path / 'ours.pth'), device='cpu'
    )
    assert model.state_dict().keys() == converted['state_dict'].keys()


def test_all_classes_of_the_authors_can_be_kept(theirs):
    checkpoint, family, configs = convert(theirs, keep_91=True)
    assert family == 'detr-panoptic'
    assert configs[:2] == ['detr_r50_panoptic.py', 'detr_r50_dc5_panoptic.py']
    assert len(checkpoint['state_dict']['bbox_head.fc_cls.bias']) == 251
    names = checkpoint['meta']['dataset_meta']['classes']
    assert len(names) == 250
    assert (names[1], names[91], names[200], names[249]) == ('person', 'N/A', 'rug-merged', 'N/A')
