"""Results as the authors compute them, and models by name: ``DetInferencer(NAME, scope='mmdet_setdet')``."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import author_names
from helpers.batches import random_samples
from helpers.configs import CONFIGS
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmengine.runner import CheckpointLoader

from mmdet_setdet.config_names import config_folder
from mmdet_setdet.errors import InputError

METAFILE = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']
# As wide as can be: the shorter side decides how long a test takes.
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 400, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def authors_file(tmp_path_factory):
    """A checkpoint of the authors' DN-DETR without patterns."""
    path = tmp_path_factory.mktemp('authors') / 'dn_detr.pth'
    weights = author_names.light_weights(author_names.load()['dn-detr'])
    torch.save(
        dict(model={name: value for name, value in weights.items() if 'patterns' not in name}), path
    )
    return path


def test_every_published_model_is_in_the_metafile_once():
    names = [model['Name'] for model in METAFILE]
    configs = {
        path.stem
        for path in CONFIGS.glob('*.py')
        if re.match(r'(dn_|dab_)?(\w+_)?detr_r\d', path.stem)
    }
    assert sorted(set(names)) == sorted(names)
    assert configs <= set(names)
    for model in METAFILE:
        assert (config_folder().parent / model['Config']).is_file()
        assert Path(model['Config']).stem == model['Name']
        assert 'Weights' in model


def test_model_by_name_with_weights_of_the_authors(authors_file):
    inferencer = DetInferencer(
        'dn_detr_r50_50e', weights=f'dn-detr+{authors_file}', scope='mmdet_setdet', device='cpu'
    )
    assert inferencer.model.dataset_meta['classes'][79] == 'toothbrush'
    [found] = inferencer(IMAGE, no_save_vis=True)['predictions']
    assert len(found['labels']) == len(found['scores']) == len(found['bboxes']) == 300
    boxes = np.array(found['bboxes'])
    assert boxes.min() >= 0
    assert (boxes <= [400.01, 40.01, 400.01, 40.01]).all()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (
            'dn_detr_r50_50e',
            r'by hand, at https://\S+: download .* tools/convert_checkpoint.py FILE CONVERTED --from dn-d',
        ),
        ('dn_detr_r50_12e', 'nobody publishes weights of this model: train it'),
    ],
)
def test_model_by_name_without_weights(name, message):
    with pytest.raises(InputError, match=message):
        DetInferencer(name, scope='mmdet_setdet', device='cpu')


def test_file_that_cannot_be_downloaded():
    with pytest.raises(
        InputError, match='detr-r50.pth: cannot be downloaded .*; get the file elsewhere and g'
    ):
        CheckpointLoader.load_checkpoint('detr+http://nowhere.invalid/detr-r50.pth', 'cpu')


def head_of(kind):
    loss = (
        dict(type='CrossEntropyLoss', use_sigmoid=False)
        if kind == 'DETRHead'
        else dict(type='FocalLoss', use_sigmoid=True)
    )
    return MODELS.build(
        dict(
            type=f'mmdet_setdet.{kind}',
            num_classes=80,
            embed_dims=16,
            loss_cls=loss,
            test_cfg=dict(max_per_img=300 if kind == 'DNDETRHead' else 100),
        )
    )


@pytest.mark.parametrize('kind', ['DETRHead', 'DNDETRHead'])
def test_results_are_those_of_the_papers(kind):
    """Softmax: the best class of each query, "no object" left out. Sigmoid: the best 300 of all queries and classes."""
    head, queries = head_of(kind), 100
    head.init_weights()
    [sample] = random_samples([(80, 107)], (80, 107), [1])
    sample.set_metainfo(dict(ori_shape=(480, 640), scale_factor=(107 / 640, 80 / 480)))
    states = dict(hidden_states=torch.randn(2, 1, queries, 16))
    if kind == 'DNDETRHead':
        states['references'] = torch.rand(2, 1, queries, 4)
    with torch.no_grad():
        [result] = head.predict([sample], **states)
        logits, boxes = (x[-1, 0] for x in head(**states))
    if kind == 'DETRHead':
        scores, labels = logits.softmax(-1)[:, :80].max(-1)
        order = scores.argsort(descending=True)
        scores, labels, query = scores[order], labels[order], order
    else:
        scores, index = logits.sigmoid().flatten().sort(descending=True)
        scores, query, labels = scores[:300], index[:300] // 80, index[:300] % 80
    cx, cy, w, h = boxes[query].unbind(-1)
    corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1).clamp(0, 1)
    assert len(result) == (100 if kind == 'DETRHead' else 300)
    torch.testing.assert_close(result.scores, scores)
    assert (result.labels == labels).float().mean() > 0.98  # but for ties
    torch.testing.assert_close(
        result.bboxes, corners * torch.tensor([640, 480, 640, 480]), rtol=1e-4, atol=1e-2
    )
