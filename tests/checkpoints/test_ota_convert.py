"""Checkpoints of OTA's authors, which cvpods writes, become ours."""

import json

import pytest
import torch
from helpers import author_names
from helpers.configs import CONFIGS
from helpers.tiny_detector import tool
from mmdet.apis import init_detector
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_setdet.errors import InputError

NAMES = {
    model: author_names.unfold(tree)
    for model, tree in json.loads((author_names.GOLDEN / 'ota_names.json').read_text()).items()
}
CONFIG = {
    'r50': 'ota_r50_fpn_1x.py',
    'r101': 'ota_r101_fpn_2x.py',
    'x101': 'ota_x101_fpn_2x.py',
    'x101_dcn': 'ota_x101_dcn_fpn_2x.py',
}


def run(path, weights, *arguments):
    """Saves weights as the authors' training does, calls the tool; returns what it writes."""
    optimizer = dict(state={}, param_groups=[dict(lr=1e-5, params=[0])])
    torch.save(dict(model=weights, optimizer=optimizer, iteration=89999), path / 'model_final.pth')
    tool('convert_checkpoint').main(
        [str(path / 'model_final.pth'), str(path / 'ours.pth'), *arguments]
    )
    return torch.load(path / 'ours.pth', weights_only=True)['state_dict']


@pytest.mark.parametrize('model', NAMES)
def test_fits_its_config_and_no_other(model, tmp_path, capsys):
    run(tmp_path, author_names.light_weights(NAMES[model]))
    printed = capsys.readouterr().out
    assert '(ota, guessed)' in printed
    assert f'fits: {CONFIG[model]}\n' in printed
    assert '80 classes' in printed


def test_detector_starts_from_it(tmp_path, capsys):
    state = run(tmp_path, author_names.light_weights(NAMES['r50']))
    model = init_detector(str(CONFIGS / CONFIG['r50']), str(tmp_path / 'ours.pth'), device='cpu')
    assert 'do not match' not in capsys.readouterr().out
    assert model.state_dict().keys() == state.keys()
    assert model.dataset_meta['classes'][79] == 'toothbrush'


@pytest.mark.parametrize('model', ['r50', 'x101'])
def test_first_convolution_sees_what_the_authors_saw(model, tmp_path):
    weights = author_names.light_weights(NAMES[model])
    first = weights['backbone.bottom_up.stem.conv1.weight'] = torch.randn(64, 3, 7, 7)
    state = run(tmp_path, weights)
    preprocess = MODELS.build(Config.fromfile(CONFIGS / CONFIG[model]).model.data_preprocessor)
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    theirs = torch.conv2d(
        (image - torch.tensor([103.53, 116.28, 123.675])[:, None, None])[None], first, padding=3
    )
    ours = torch.conv2d(
        preprocess(dict(inputs=[image]))['inputs'], state['backbone.conv1.weight'], padding=3
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)


def test_towers_and_deformable_convolutions_keep_their_order(tmp_path):
    shapes = NAMES['x101_dcn']
    weights = {}
    for number, (name, shape) in enumerate(shapes.items()):
        weights[name] = torch.tensor(float(number)).expand(shape)
    state = run(tmp_path, weights)
    for ours, theirs in (
        ('bbox_head.cls_convs.0.conv.bias', 'head.cls_subnet.0.bias'),
        ('bbox_head.cls_convs.3.gn.weight', 'head.cls_subnet.10.weight'),
        ('bbox_head.reg_convs.2.conv.weight', 'head.bbox_subnet.6.weight'),
        ('bbox_head.conv_centerness.bias', 'head.ious_pred.bias'),
        ('bbox_head.scales.4.scale', 'head.scales.4.scale'),
        ('neck.lateral_convs.2.conv.weight', 'backbone.fpn_lateral5.weight'),
        ('neck.fpn_convs.0.conv.bias', 'backbone.fpn_output3.bias'),
        ('neck.fpn_convs.4.conv.weight', 'backbone.top_block.p7.weight'),
        ('backbone.bn1.running_var', 'backbone.bottom_up.stem.conv1.norm.running_var'),
        ('backbone.layer1.0.downsample.1.bias', 'backbone.bottom_up.res2.0.shortcut.norm.bias'),
        (
            'backbone.layer3.22.conv2.conv_offset.bias',
            'backbone.bottom_up.res4.22.conv2_offset.bias',
        ),
        ('backbone.layer4.0.bn2.running_mean', 'backbone.bottom_up.res5.0.conv2.norm.running_mean'),
    ):
        assert state[ours].flatten()[0] == weights[theirs].flatten()[0], ours


def test_other_detectors_of_cvpods_are_no_ota(tmp_path):
    weights = author_names.light_weights(NAMES['r50'])
    fcos = {name.replace('ious_pred', 'centerness'): value for name, value in weights.items()}
    with pytest.raises(InputError, match='it looks like nothing that is known here'):
        run(tmp_path, fcos)
    with pytest.raises(
        InputError,
        match=r'does not fit ota \(Megvii-BaseDetection/OTA\); against ota_r50_fpn_1x.py',
    ):
        run(tmp_path, fcos, '--from', 'ota')
