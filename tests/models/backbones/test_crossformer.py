"""CrossFormer: equal to its authors' at every size that theirs takes, and at home at the others."""
import copy

import numpy as np
import pytest
import torch
from benchmarks import ROWS, Options, measure
from golden import crossformer_cases as cases
from helpers.configs import CONFIGS
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from mmdet_setdet.checkpoints.convert import convert
from mmdet_setdet.checkpoints.families import candidates, guess
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.backbones import CrossFormer
from mmdet_setdet.models.backbones.crossformer import ATTENTIONS, POSITIONS, conv_of_blocks
from mmdet_setdet.models.layers.grouped_attention import Groups, axis_groups

SMALL = dict(embed_dims=32, depths=(2, 2, 3, 2))


def small(**kwargs):
    """Few channels, all branches awake, evaluation mode."""
    return cases.seeded_weights(CrossFormer(**{'arch': SMALL, **kwargs}))


@pytest.fixture(scope='module')
def golden():
    with np.load(cases.FILE) as arrays:
        return dict(arrays)


def close(got, expected):
    np.testing.assert_allclose(cases.thinned(got)[1:], expected[1:], rtol=0, atol=1e-4)
    np.testing.assert_allclose(cases.thinned(got)[0], expected[0], rtol=1e-5)


@pytest.mark.parametrize('arch', cases.ARCHS)
def test_maps_equal_the_authors(golden, arch):
    model = cases.build(arch)
    for size in cases.SIZES:
        with torch.no_grad():
            maps = model(cases.images(size))
        for number, stage in enumerate(maps):
            expected = golden[f'{cases.entry(arch, size)}{number}']
            assert expected[1:].std() > 0.3, 'would prove nothing'
            close(stage, expected)


def test_maps_equal_those_of_the_first_release():
    """Whose long distance groups span the map, and whose groups in narrow maps are squares."""
    model = cases.build('small', attention='short-long-map')
    with np.load(cases.FIRST_FILE) as golden:
        for size in cases.FIRST_SIZES:
            with torch.no_grad():
                maps = model(cases.images(size, 1 if max(size) > 400 else 2))
            for number, stage in enumerate(maps):
                close(stage, golden[f'{cases.entry("small", size)}{number}'])


@pytest.mark.parametrize('arch', cases.CLASSIFIED)
def test_logits_equal_the_authors(golden, arch):
    model = cases.build(arch, out_indices=(3, ), final_norm=True)
    with torch.no_grad():
        got = cases.thinned(cases.logits(model), 100)
    np.testing.assert_allclose(got[1:], golden[f'{arch} logits'][1:], rtol=0, atol=1e-4)


def test_gradients_equal_the_authors(golden):
    arch, size = cases.GRADIENTS
    model = cases.build(arch)
    got = cases.gradients(model(cases.images(size)), dict(model.named_parameters()))
    for name, gradient in got.items():
        expected = golden[f'gradient of {name}']
        np.testing.assert_allclose(cases.thinned(gradient), expected, rtol=0, atol=1e-3 * abs(expected[1:]).max())


@pytest.mark.parametrize('arch', cases.ARCHS)
def test_parameters_as_published(golden, arch):
    with torch.device('meta'):
        model = CrossFormer(arch, out_indices=(3, ), final_norm=True)
    classifier = 1000 * (model.norm.weight.numel() + 1)
    own = sum(parameter.numel() for parameter in model.parameters()) + classifier
    published = dict(tiny=27.8, small=30.7, base=52.0, large=92.0)
    published |= {'plus-small': 23.3, 'plus-base': 52.0, 'plus-large': 92.0, 'plus-huge': 96.0}
    assert own == golden[f'{arch} parameters'] and round(own / 1e6, 1) == published[arch]


@pytest.mark.parametrize('arch', cases.ARCHS)
def test_operations_as_published(golden, arch):
    """In billions; of plus-small 4.9 are published, but its authors' own code counts 4.39."""
    with torch.device('meta'):
        operations = cases.operations(CrossFormer(arch, out_indices=(3, ), final_norm=True))
    published = dict(tiny=2.9, small=4.9, base=9.2, large=16.1)
    published |= {'plus-small': 4.39, 'plus-base': 9.5, 'plus-large': 16.6, 'plus-huge': 21.8}
    assert operations / 1e9 == pytest.approx(published[arch], rel=0.02)
    assert operations == pytest.approx(golden[f'{arch} operations'], rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize('compiled', [False, True])
def test_output_does_not_depend_on_images_before(compiled):
    model, forward = small(), small()
    if compiled:  # one stage, for each size is traced anew
        model = small(arch=dict(embed_dims=32, depths=(2, ), group_sizes=(7, ), intervals=(2, )), out_indices=(0, ))
        forward = torch.compile(model, backend='eager', dynamic=False)
    x = cases.images((64, 96))
    before = forward(x)
    forward(cases.images((28, 28)))
    assert all(torch.equal(a, b) for a, b in zip(before, forward(x)))
    for a, b in zip(before, model(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 160), (50, 70)])
def test_image_alone_and_in_a_batch(size):
    model, x = small(), cases.images(size, 3)
    for together, alone in zip(model(x), model(x[1:2])):
        torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('size', [(1, 1), (3, 50), (37, 45), (64, 65), (101, 33), (130, 20)])
def test_sizes_that_the_authors_refuse(size):
    maps = small()(cases.images(size))
    expected = [max(side // 4, 1) for side in size]
    for stage in maps:
        assert list(stage.shape[2:]) == expected and stage.isfinite().all()
        expected = [-(-side // 2) for side in expected]


@torch.no_grad()
def test_padding_changes_no_attention():
    """Groups cut off at the border give what groups give whose padding is masked."""
    model = small(group_sizes=(5, 5, 5, 5), intervals=(3, 2, 2, 1)).layers[0]
    height, width, dims = 17, 13, 32
    x = torch.randn(2, height, width, dims)
    for index, interval in enumerate((1, 3)):
        block, span = model.blocks[index], 5 * interval
        tall, wide = -(-height // span) * span, -(-width // span) * span
        padded = torch.nn.functional.pad(block.norm1(x), (0, 0, 0, wide - width, 0, tall - height))
        valid = torch.zeros(tall, wide, dtype=torch.bool)
        valid[:height, :width] = True

        def grouped(maps, interval=interval):
            parts = maps.unflatten(1, (-1, 5, interval)).unflatten(4, (-1, 5, interval))
            return parts.permute(0, 1, 4, 3, 6, 2, 5, 7).reshape(-1, 25, maps.shape[-1])

        qkv = block.attn.qkv(grouped(padded)).view(-1, 25, 3, 32)
        scores = torch.einsum('gnd,gmd->gnm', qkv[:, :, 0], qkv[:, :, 1]) / 32**0.5
        differences, pairs = model.differences, model.pairs
        scores += block.attn.pos(differences)[pairs, 0]
        keys = grouped(valid[None, ..., None].expand(2, -1, -1, 1)).squeeze(-1)
        weights = scores.masked_fill(~keys[:, None], -1e6).softmax(-1)
        attended = block.attn.proj(weights @ qkv[:, :, 2])
        places = grouped(torch.arange(2 * tall * wide).view(2, tall, wide, 1)).flatten()
        attended = torch.empty_like(attended.flatten(0, 1)).index_copy_(0, places, attended.flatten(0, 1))
        expected = x + attended.view(2, tall, wide, dims)[:, :height, :width]
        expected = expected + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(block.norm2(expected))))

        groups = Groups(2, *(axis_groups(length, 5, interval, 0, x.device) for length in (height, width)))
        tokens = block(groups.arrange(x.view(-1, dims), None), groups, (differences, pairs))
        got = tokens.index_select(0, groups.inverse).view(x.shape)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('length', 'size', 'interval', 'lead'), [
    (56, 7, 8, 0), (50, 7, 8, 0), (10, 7, 8, 0), (3, 7, 1, 0), (17, 7, 1, 3), (14, 7, 1, 0), (1, 4, 2, 0)])
def test_groups_hold_every_position_once(length, size, interval, lead):
    groups = axis_groups(length, size, interval, lead, 'cpu')
    assert torch.cat([group.flatten() for group in groups]).sort().values.equal(torch.arange(length))
    assert len({group.shape[1] for group in groups}) == len(groups) or lead
    for group in groups:
        assert group.shape[1] <= size and (group.diff(dim=1) == interval).all()


@pytest.mark.parametrize('attention', ATTENTIONS)
@pytest.mark.parametrize('position', POSITIONS)
def test_ablations(attention, position):
    settings = dict(attention=attention, position=position, patch_sizes=(4, ), merge_sizes=(2, ))
    if attention == 'pvt' and position in POSITIONS[:3] or (attention, position) == ('short-long-map', 'relative'):
        with pytest.raises(InputError, match='groups grow with the image'):
            small(**settings)
        return
    model = small(**settings).train()
    for size in ((96, 70), (32, 32)):
        maps = model(cases.images(size))
        sum(stage.square().mean() for stage in maps).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters()
               if parameter.numel() > 64)


@torch.no_grad()
def test_what_attention_reaches():
    """A changed pixel is felt within its group alone, by a long distance group, or everywhere."""
    arch = dict(embed_dims=32, depths=(2, ), group_sizes=(4, ), intervals=(3, ))

    def reached(**kwargs):
        model = small(arch=arch, out_indices=(0, ), patch_sizes=(4, ), **kwargs)
        x = cases.images((96, 96), 1)
        other = x.clone()
        other[..., :4, :4] += 1
        return (model(x)[0] - model(other)[0]).abs().amax((0, 1)) > 1e-6

    short = reached(attention='short')
    assert short[:4, :4].all() and short.sum() == 16
    long = reached(attention='short-long')
    assert long[:12, :12].all() and long.sum() == 144
    assert reached(attention='short-long-map').all()
    swin = reached(attention='swin')
    assert swin[:6, :6].all() and swin.sum() == 36
    assert reached(attention='pvt', position='none').all()


@torch.no_grad()
def test_positions_matter_only_where_they_are_given():
    x = cases.images((64, 64), 1)
    turned = x.flip(-1)
    turned_back = {position: small(position=position, patch_sizes=(4, ), merge_sizes=(2, ))(turned)[0].flip(-1)
                   for position in ('none', 'relative')}
    assert not torch.allclose(turned_back['relative'], turned_back['none'])
    table = small(position='absolute', pretrain_img_size=64)
    assert table.absolute_pos_embed.shape == (1, 256, 32) and not torch.equal(table(x)[0], small()(x)[0])


def test_frozen_stages():
    model = small(frozen_stages=2).train()
    sum(stage.mean() for stage in model(cases.images((64, 64)))).backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(('patch_embed.', 'layers.0.', 'layers.1.'))
        assert (parameter.grad is None) == frozen, name
    assert not model.layers[1].training and model.layers[2].training


def test_checkpointing_gives_the_same_gradients():
    x = cases.images((64, 96))
    gradients = []
    for with_cp in (False, True):
        model = small(with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(1)
        sum(stage.square().mean() for stage in model(x)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-7)


def test_parts_of_the_groups_give_what_all_give(monkeypatch):
    """A CPU takes as many groups at a time as its cache holds."""
    model, x = small(drop_path_rate=0.5).train(), cases.images((64, 96))
    results = []
    for floats in (2**30, 2**12):
        monkeypatch.setattr('mmdet_setdet.models.backbones.crossformer.CACHED_FLOATS', floats)
        torch.manual_seed(1)
        maps = model(x)
        loss = sum(stage.square().mean() for stage in maps)
        results.append([*maps, *torch.autograd.grad(loss, list(model.parameters()))])
    for whole, parts in zip(*results):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_drop_path_leaves_out_whole_images():
    groups = Groups(3, *(axis_groups(10, 4, 2, 0, 'cpu') for _ in range(2)))
    torch.manual_seed(0)
    scale = torch.stack([groups.drop_path(0.4).squeeze(1)[groups.inverse] for _ in range(200)]).view(200, 3, 100)
    assert (scale == scale[..., :1]).all() and scale.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert scale.mean().item() == pytest.approx(1, abs=0.1)


def test_large_kernels_on_blocks():
    model = small().patch_embed
    for size in ((64, 96), (35, 5)):
        for conv in model.projs:
            torch.testing.assert_close(conv_of_blocks(conv, cases.images(size)), conv(cases.images(size)),
                                       rtol=1e-4, atol=1e-4)


def test_out_indices_build_what_is_needed():
    model = small(out_indices=(0, 2), final_norm=True)
    assert len(model.layers) == 3 and model.layers[2].downsample is None and model.norm.weight.shape == (128, )
    maps = model(cases.images((64, 64)))
    assert [stage.shape[1:] for stage in maps] == [(32, 16, 16), (128, 4, 4)]
    sum(stage.square().mean() for stage in maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize('form', ['classification', 'detection'])
def test_loads_the_authors_checkpoints(tmp_path, form):
    model = small()
    weights = dict(model.state_dict())
    if form == 'classification':
        tables = {'layers.0.blocks.0.attn.biases': torch.zeros(9, 2), 'norm.weight': torch.ones(256),
                  'layers.0.blocks.0.attn.relative_position_index': torch.zeros(4, 4), 'head.bias': torch.zeros(9)}
        content = dict(model={**weights, **tables}, epoch=299)
    else:
        content = dict(state_dict={f'backbone.{key}': value for key, value in weights.items()}, meta=dict(epoch=12))
        content['state_dict']['neck.fpn_convs.0.conv.bias'] = torch.zeros(9)
    torch.save(content, tmp_path / 'authors.pth')
    fresh = CrossFormer(SMALL)
    fresh.load_state_dict(copy.copy(content), strict=True)
    assert all(torch.equal(value, weights[key]) for key, value in fresh.state_dict().items())
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'authors.pth'))
    fresh = MODELS.build(dict(type='CrossFormer', arch=SMALL, init_cfg=init_cfg))
    fresh.init_weights()
    assert all(torch.equal(value, weights[key]) for key, value in fresh.state_dict().items())
    load_checkpoint(CrossFormer(SMALL), str(tmp_path / 'authors.pth'), strict=True)


def test_starts_as_the_authors_do():
    model = CrossFormer(SMALL, position='relative')
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.ones_(module.bias)
    model.init_weights()
    linear = model.layers[3].blocks[0].mlp.fc1
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05) and not linear.bias.any()


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(arch='smal'), "arch='smal'.*tiny"),
    (dict(attention='long'), 'short-long'),
    (dict(position='sine'), 'dynamic'),
    (dict(group_sizes=(7, 7)), 'give 4 positive'),
    (dict(intervals=(8, 4, 2, 0)), 'give 4 positive'),
    (dict(arch=dict(embed_dims=40, depths=(1, 1, 1, 1))), 'multiple'),
    (dict(arch=dict(embed_dims=32, depth=(1, 1, 1, 1))), 'wrong or missing: depths?, depths?'),
    (dict(out_indices=(4, )), '4 stages'),
    (dict(frozen_stages=5), '4 stages'),
])
def test_errors_say_what_to_do(settings, message):
    with pytest.raises(InputError, match=message):
        CrossFormer(**settings)


@pytest.mark.parametrize('task', ['classification', 'detection'])
def test_converts_the_authors_checkpoints(tmp_path, task):
    config = {'classification': 'crossformer_t_imagenet.py', 'detection': 'retinanet_crossformer_s_fpn_1x.py'}[task]
    cfg = Config.fromfile(CONFIGS / config)
    with torch.device('meta'):
        names = {name: value.shape for name, value in MODELS.build(cfg.model).state_dict().items()}
    weights = {name: torch.full((1, ), float(number)).expand(shape)
               for number, (name, shape) in enumerate(names.items())}
    theirs = weights
    if task == 'classification':
        theirs = {name.removeprefix('backbone.'): value for name, value in weights.items()}
        theirs |= {'layers.0.blocks.0.attn.biases': torch.zeros(9, 2), 'layers.0.blocks.0.attn_mask': torch.zeros(4)}
    assert guess(theirs) == 'crossformer'
    assert config.removesuffix('.py') in candidates('crossformer', theirs)
    torch.save(dict(model=theirs), tmp_path / 'authors.pth')
    checkpoint, family, configs = convert(str(tmp_path / 'authors.pth'), config=config)
    assert family == 'crossformer' and configs == [config]
    assert {name: value.flatten()[0].item() for name, value in checkpoint['state_dict'].items()} == {
        name: value.flatten()[0].item() for name, value in weights.items()}


def test_distributed_as_usually_used(tmp_path):
    """No parameter is left without a gradient, and small images leave no trace."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    try:
        model = torch.nn.parallel.DistributedDataParallel(small(drop_path_rate=0.).train())
        x, results = cases.images((64, 96)), []
        for image in (x, cases.images((32, 32)), x):
            model.zero_grad()
            maps = model(image)
            sum(stage.square().mean() for stage in maps).backward()
            results.append([*maps, *[parameter.grad.clone() for parameter in model.parameters()]])
    finally:
        torch.distributed.destroy_process_group()
    assert all(torch.equal(before, after) for before, after in zip(results[0], results[2]))


@pytest.mark.parametrize('row', ['backbone', 'backbone-growth'])
def test_benchmark_rows(row):
    options = Options(repeats=1, size=(32, 32), model=dict(arch='tiny'))
    measured = [m for case in ROWS[row](options) for m in measure(row, case, 1, 'cpu', warmup=0)]
    assert {m.peer for m in measured} >= {'matrix products'} and len({m.case for m in measured}) == 2
    assert all(m.max_abs_diff < 1e-4 for m in measured if m.peer == "authors'")
    assert all(m.ours_peak_mib > 0 for m in measured)
