"""Checkpoints of other code bases become ours by tools/convert_checkpoint.py; what is wrong with one is said."""

import argparse
import os
import re
import sys

import pytest
import torch
from helpers import author_names
from helpers.batches import ragged_batch
from helpers.configs import CONFIGS
from helpers.tiny_detector import tool
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from safetensors.torch import save_file

from mmdet_setdet.checkpoints.coco_ids import COCO_IDS
from mmdet_setdet.checkpoints.safetensors import read_safetensors
from mmdet_setdet.errors import InputError

NAMES = author_names.load()
FAMILY = {source: 'hf-detr' if source.startswith('hf') else source for source in NAMES}
FAMILY['dino-swin'] = 'dino'
SOFTMAX = ('detr', 'hf-detr')
CONFIG = {
    'detr': 'detr_r50_500e.py',
    'hf-detr': 'detr_r50_500e.py',
    'dn-detr': 'dn_detr_r50_dc5_3pat_12e.py',
    'dab-detr': 'dab_detr_r50_50e.py',
    'anchor-detr': 'anchor_detr_r50_50e.py',
    'dn-deformable-detr': 'dn_deformable_detr_r50_50e.py',
    'dn-deformable-detr-encoder': 'dn_deformable_detr_encoder_r50_50e.py',
    'deformable-detr': 'deformable_detr_r50_50e.py',
    'deformable-detr-refine': 'deformable_detr_refine_r50_50e.py',
    'deformable-detr-two-stage': 'deformable_detr_two_stage_r50_50e.py',
    'dino': 'dino_r50_4scale_12e.py',
    'dino-5scale': 'dino_r50_5scale_12e.py',
    'dino-swin': 'dino_swin_l_4scale_12e.py',
    'dn-dino': 'dn_dino_r50_36e.py',
}
# Classifiers have a weight and a bias, one per decoder layer or one for all, and one for proposals of the encoder.
CLASSIFIERS = {
    'dn-deformable-detr': 6,
    'deformable-detr': 6,
    'deformable-detr-refine': 6,
    'deformable-detr-two-stage': 7,
    'dino': 7,
    'dino-5scale': 7,
    'dino-swin': 7,
    'dn-dino': 7,
}


def save(path, weights, **others):
    """A file as the authors' training writes it."""
    torch.save(dict(model=weights, **others), path)
    return str(path)


def run(*arguments):
    """Calls the tool; returns the checkpoint that it writes."""
    tool('convert_checkpoint').main([str(argument) for argument in arguments])
    return torch.load(arguments[1], weights_only=True)


@pytest.fixture(scope='module')
def detr(tmp_path_factory):
    """A checkpoint of the authors' DETR."""
    return save(
        tmp_path_factory.mktemp('authors') / 'detr.pth', author_names.light_weights(NAMES['detr'])
    )


@pytest.mark.parametrize('source', NAMES)
def test_every_name_finds_its_place_and_every_class_its_row(source, tmp_path, capsys):
    path = save(tmp_path / 'theirs.pth', author_names.light_weights(NAMES[source]))
    converted = run(path, tmp_path / 'ours.pth')
    state = converted['state_dict']
    rows = [float(i) for i in COCO_IDS]
    classifiers = [name for name in state if re.search(r'fc_cls\.|cls_branches\.', name)]
    assert len(classifiers) == 2 * CLASSIFIERS.get(source, 1)
    for name in classifiers:
        assert state[name].view(len(state[name]), -1)[:, 0].tolist() == rows + [91.0] * (
            FAMILY[source] in SOFTMAX
        )
    if source.startswith('dn-'):
        assert state['denoising.label_enc.weight'][:, 7].tolist() == [*rows, 91.0]
    if source.startswith('dino'):
        assert state['dn_query_generator.label_embedding.weight'][:, 7].tolist() == rows
    assert converted['meta']['dataset_meta']['classes'] == CocoDataset.METAINFO['classes']
    printed = capsys.readouterr().out
    assert f'({FAMILY[source]}, guessed)' in printed
    config = CONFIG.get(source) or CONFIG[FAMILY[source]]
    assert re.search(f'fits: .*{config}', printed)


@pytest.mark.parametrize('source', ['detr', 'dn-detr', 'hf-timm'])
@pytest.mark.parametrize('num_classes', [80, 91])
def test_detector_starts_from_it(source, num_classes, tmp_path, capsys):
    path = save(tmp_path / 'theirs.pth', author_names.light_weights(NAMES[source]))
    options = ['--keep-91'] if num_classes == 91 else []
    state = run(path, tmp_path / 'ours.pth', '--from', FAMILY[source], *options)['state_dict']
    assert ('model.bbox_head.num_classes=91' in capsys.readouterr().out) == (num_classes == 91)
    model = init_detector(
        str(CONFIGS / CONFIG[FAMILY[source]]),
        str(tmp_path / 'ours.pth'),
        device='cpu',
        cfg_options={'model.bbox_head.num_classes': num_classes},
    )
    assert 'do not match' not in capsys.readouterr().out
    assert model.state_dict().keys() == state.keys()
    names = model.dataset_meta['classes']
    assert len(names) == num_classes
    if num_classes == 91:
        assert (names[1], names[12], names[90]) == ('person', 'N/A', 'toothbrush')
        assert [name for name in names if name != 'N/A'] == list(CocoDataset.METAINFO['classes'])


@torch.no_grad()
def outputs(model):
    features = torch.randn(3, 256, 4, 5, generator=torch.Generator().manual_seed(0))
    logits, boxes = model.bbox_head(**model.forward_transformer((features,), ragged_batch()[1]))
    return logits[-1], boxes[-1]


@pytest.mark.parametrize('source', ['detr', 'dn-detr', 'dab-detr'])
def test_classes_that_are_kept_keep_their_logits_and_boxes(source, tmp_path):
    config = tmp_path / 'small.py'
    config.write_text(
        f"_base_ = '{CONFIGS / CONFIG[source]}'\nmodel = dict(encoder=dict(num_layers=2), decoder=dict(num_layers=2))\n"
    )
    weights = author_names.light_weights(
        {
            name: shape
            for name, shape in NAMES[source].items()
            if not re.search(r'coder\.layers\.[2-5]\.', name)
        }
    )
    for name, shape in NAMES[source].items():
        if name in weights and not name.startswith('backbone'):
            scale, start = (
                (shape[-1] ** -0.5, 0) if len(shape) > 1 else (0.1, float(name.endswith('weight')))
            )
            weights[name] = start + torch.randn(shape) * (1 if shape[0] in (100, 300) else scale)
    for name in weights:
        if 'decoder.bbox_embed' in name:  # the authors' decoder and head share it
            weights[name] = weights[name.removeprefix('transformer.decoder.')]
    path = save(tmp_path / 'theirs.pth', weights)
    run(path, tmp_path / '80.pth', '--config', config)
    run(path, tmp_path / '91.pth', '--config', config, '--keep-91')
    (few, boxes), (all_ids, boxes_91) = (
        outputs(
            init_detector(
                str(config),
                str(tmp_path / f'{number}.pth'),
                device='cpu',
                cfg_options={'model.bbox_head.num_classes': number},
            )
        )
        for number in (80, 91)
    )
    assert torch.equal(boxes, boxes_91)
    assert boxes.std(1).min() > 1e-3
    assert few.std(1).min() > 1e-3
    ids = list(COCO_IDS)
    torch.testing.assert_close(few[..., :80], all_ids[..., ids], rtol=1e-5, atol=1e-6)
    if source in SOFTMAX:
        torch.testing.assert_close(few[..., 80], all_ids[..., 91], rtol=1e-5, atol=1e-6)
        # Without the 11 unused ids the other probabilities grow by what those had.
        whole = all_ids.softmax(-1)
        share = whole[..., [*ids, 91]].sum(-1, keepdim=True)
        torch.testing.assert_close(
            few.softmax(-1)[..., :80], whole[..., ids] / share, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize('dilated', [False, True])
def test_command_line_in_the_checkpoint_tells_dilation(dilated, tmp_path, capsys):
    weights = author_names.light_weights(NAMES['detr'])
    arguments = argparse.Namespace(dilation=dilated)
    path = save(tmp_path / 'x.pth', weights, args=arguments)
    run(path, tmp_path / 'ours.pth')
    fits = capsys.readouterr().out.splitlines()[-1]
    assert fits == (
        'fits: detr_r50_dc5_500e.py' if dilated else 'fits: detr_r50_500e.py detr_r50_150e.py'
    )


@pytest.fixture
def safetensors_file(tmp_path):
    """A file and its content."""
    path = tmp_path / 'x.safetensors'
    weights = dict(a=torch.randn(2, 3), b=torch.randn(4).bfloat16(), c=torch.tensor(7))
    save_file(weights, path)
    return path, weights


def test_safetensors(safetensors_file):
    path, weights = safetensors_file
    read = read_safetensors(path)
    assert read.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(read[name], weight)


@pytest.mark.parametrize('size', [-1, 40, 3])
def test_damaged_safetensors(safetensors_file, size):
    path, _ = safetensors_file
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        InputError,
        match='x.safetensors: not a safetensors file, or cut off, as after an interrupted',
    ):
        read_safetensors(path)


def test_missing_safetensors(safetensors_file, monkeypatch):
    path, _ = safetensors_file
    with pytest.raises(InputError, match='nowhere.safetensors: cannot be read'):
        read_safetensors(path.with_stem('nowhere'))
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(
        InputError, match='x.safetensors: reading it needs the package safetensors: `pip install'
    ):
        read_safetensors(path)


def test_folder_of_transformers_joins_queries_keys_and_values(tmp_path):
    weights = author_names.light_weights(NAMES['hf-timm'])
    stem = 'model.decoder.layers.3.encoder_attn.'
    parts = [torch.randn(256, 256).bfloat16() for _ in 'qkv']
    weights.update({f'{stem}{part}_proj.weight': value for part, value in zip('qkv', parts)})
    torch.save(weights, tmp_path / 'pytorch_model.bin')
    state = run(tmp_path, tmp_path / 'ours.pth')['state_dict']
    joined = state['decoder.layers.3.cross_attn.attn.in_proj_weight']
    assert torch.equal(joined, torch.cat(parts).float())
    save_file(dict(class_labels_classifier=torch.zeros(3)), tmp_path / 'model.safetensors')
    with pytest.raises(
        InputError, match='does not fit hf-detr'
    ):  # of the two files the safe one is read
        run(tmp_path, tmp_path / 'ours.pth', '--from', 'hf-detr')


def test_wrong_family_is_named(detr, tmp_path):
    target = tmp_path / 'ours.pth'
    with pytest.raises(
        InputError,
        match=r'detr.pth: does not fit dn-detr \(IDEA-Research/DN-DETR.* of another shape, '
        r'first .* missing, first .* left over, first .* But it looks like detr \(',
    ):
        run(detr, target, '--from', 'dn-detr')
    conditional = ('query_embed.weight', 'transformer.decoder.layers.0.ca_qpos_sine_proj.weight')
    for names, message in (
        (conditional, 'it looks like Conditional DETR; with --from one of detr, .* Its first'),
        (['encoder.w'], 'it looks like nothing that is known here; .* weights: encoder.w'),
    ):
        with pytest.raises(InputError, match=f'x.pth: {message}'):
            run(save(tmp_path / 'x.pth', {name: torch.zeros(1) for name in names}), target)


def test_what_is_missing_left_over_or_of_another_size_is_named(tmp_path):
    weights = author_names.light_weights(NAMES['dn-detr'])
    lacking = {
        name: value for name, value in weights.items() if 'encoder.layers.5.norm2' not in name
    }
    twice = 'transformer.decoder.bbox_embed.layers.1.bias'
    for wrong, message in (
        (
            lacking,
            '2 missing, first encoder.layers.5.norms.1.weight, encoder.layers.5.norms.1.bias',
        ),
        (
            {**weights, 'transformer.decoder.layers.0.gate': torch.zeros(1)},
            '1 left over, first decoder.layers.0.gate',
        ),
        (
            {**weights, 'refpoint_embed.weight': torch.zeros(9, 4)},
            r'first query_embedding.weight \(9, 4\) instead of \(300, 4\).* --config FILE',
        ),
        (
            {**weights, twice: torch.ones(256)},
            f'{twice} and bbox_embed.layers.1.bias differ, but are one and the same',
        ),
    ):
        with pytest.raises(InputError, match=message):
            run(save(tmp_path / 'x.pth', wrong), tmp_path / 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()


def test_own_number_of_classes_takes_its_names_from_the_config(tmp_path):
    shapes = NAMES['detr'] | {'class_embed.weight': [4, 256], 'class_embed.bias': [4]}
    path = save(tmp_path / 'x.pth', author_names.light_weights(shapes))
    config = tmp_path / 'mine.py'
    text = f"_base_ = '{CONFIGS}/detr_r50_500e.py'\nmodel = dict(bbox_head=dict(num_classes=3))\n"
    config.write_text(text)
    with pytest.raises(
        InputError, match='mine.py: its data set names 80 classes, but its model has 3; give it m'
    ):
        run(path, tmp_path / 'ours.pth', '--config', config)
    config.write_text(
        text + "test_dataloader = dict(dataset=dict(metainfo=dict(classes=('a', 'b', 'c'))))\n"
    )
    assert run(path, tmp_path / 'ours.pth', '--config', config)['meta']['dataset_meta'][
        'classes'
    ] == ('a', 'b', 'c')


class Carrier:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_code_is_refused_and_damage_is_named(detr, tmp_path):
    evil = save(tmp_path / 'evil.pth', {}, args=Carrier(os.system, f'touch {tmp_path / "marker"}'))
    with pytest.raises(InputError, match='evil.pth: refused, because reading it would run code'):
        run(evil, tmp_path / 'ours.pth', '--from', 'detr')
    assert not (tmp_path / 'marker').exists()
    with open(detr, 'rb') as file:
        (tmp_path / 'half.pth').write_bytes(file.read(9999))
    with pytest.raises(InputError, match='half.pth: incomplete or damaged'):
        run(tmp_path / 'half.pth', tmp_path / 'ours.pth')
    torch.save(dict(epoch=3), tmp_path / 'log.pth')
    with pytest.raises(InputError, match='log.pth: holds no weights but epoch'):
        run(tmp_path / 'log.pth', tmp_path / 'ours.pth')
    with pytest.raises(
        InputError, match='a folder without model.safetensors and without pytorch_model.bin'
    ):
        run(tmp_path, tmp_path / 'ours.pth')
