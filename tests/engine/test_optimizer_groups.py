"""Parameters of equal settings share a group of the optimizer, and checkpoints of one group each are resumed."""

import copy

import pytest
import torch
from helpers.configs import CONFIGS
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR, build_optim_wrapper
from torch import nn

from mmdet_setdet.engine.optimizer_groups import fit_to_groups, fit_to_layout
from mmdet_setdet.errors import InputError

GROUPED = 'mmdet_setdet.GroupedOptimWrapperConstructor'


def small_model():
    """Two layers with norms; the first learns at another rate, norms do not decay."""
    torch.manual_seed(0)
    return nn.ModuleDict(
        dict(
            backbone=nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)),
            head=nn.Sequential(nn.Conv2d(4, 2, 3), nn.GroupNorm(1, 2)),
        )
    )


def wrapper_of(model, constructor=GROUPED, **custom_keys):
    cfg = dict(
        type='OptimWrapper',
        constructor=constructor,
        optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1, fused=True),
        paramwise_cfg=dict(
            norm_decay_mult=0.0,
            custom_keys=custom_keys or {'backbone.0': dict(lr_mult=0.1)},
        ),
    )
    return build_optim_wrapper(model, cfg)


def step(model, wrapper, scheduler, steps):
    for _ in range(steps):
        x = torch.linspace(-1, 1, 300).view(1, 3, 10, 10)
        for part in model.values():
            x = part(x)
        wrapper.update_params(x.square().mean() + x[..., 0].mean())
        scheduler.step()


def test_one_group_for_each_setting():
    model = small_model()
    apart = wrapper_of(model, 'DefaultOptimWrapperConstructor')
    together = wrapper_of(model)
    assert len(apart.optimizer.param_groups) == 8
    sizes = [len(group['params']) for group in together.optimizer.param_groups]
    assert sizes == [2, 4, 2]
    settings = {
        id(group['params'][0]): (group['lr'], group['weight_decay'])
        for group in apart.optimizer.param_groups
    }
    for group in together.optimizer.param_groups:
        for param in group['params']:
            assert settings[id(param)] == (group['lr'], group['weight_decay'])
    # What the log shows.
    assert together.get_lr()['base_lr'] == apart.get_lr()['base_lr']
    assert together.get_lr()['lr'][0] == apart.get_lr()['lr'][0]


def test_without_settings_by_parameter_there_is_one_group():
    cfg = dict(constructor=GROUPED, optimizer=dict(type='SGD', lr=0.1))
    assert len(build_optim_wrapper(small_model(), cfg).optimizer.param_groups) == 1


@pytest.mark.parametrize('name', ['dn_detr_r50_50e', 'crossformer_t_imagenet'])
def test_published_configs_have_two_settings(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py').optim_wrapper
    wrapper = build_optim_wrapper(small_model(), {**cfg, 'constructor': GROUPED})
    assert len(wrapper.optimizer.param_groups) == 2


def test_checkpoint_of_one_group_for_each_parameter():
    """Of mmengine's own constructor, optimizer and scheduler: training goes on as if it had not been interrupted."""
    expected = small_model()
    wrapper = wrapper_of(expected, 'DefaultOptimWrapperConstructor')
    scheduler = CosineAnnealingLR(wrapper, T_max=20, by_epoch=False)
    step(expected, wrapper, scheduler, 5)
    checkpoint = dict(
        optimizer=copy.deepcopy(wrapper.state_dict()),
        param_schedulers=[copy.deepcopy(scheduler.state_dict())],
    )
    model = copy.deepcopy(expected)
    step(expected, wrapper, scheduler, 5)

    wrapper = wrapper_of(model)
    scheduler = CosineAnnealingLR(wrapper, T_max=20, by_epoch=False)
    fit_to_groups(checkpoint, model, wrapper.optimizer, 'old.pth')
    wrapper.load_state_dict(checkpoint['optimizer'])
    scheduler.load_state_dict(checkpoint['param_schedulers'][0])
    step(model, wrapper, scheduler, 5)
    for name, weight in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert len(scheduler.get_last_value()) == 4  # three groups, and mmengine's base rate


def test_checkpoint_that_does_not_fit_is_named():
    model = small_model()
    saved = wrapper_of(model, 'DefaultOptimWrapperConstructor', head=dict(lr_mult=0.5))
    checkpoint = dict(optimizer=copy.deepcopy(saved.state_dict()))
    optimizer = wrapper_of(model).optimizer
    with pytest.raises(InputError, match=r'old\.pth: gave different settings'):
        fit_to_groups(copy.deepcopy(checkpoint), model, optimizer, 'old.pth')
    del checkpoint['optimizer']['param_groups'][-1]
    with pytest.raises(InputError, match=r'old\.pth: .*7 parameter groups.* 3 of 8 parameters'):
        fit_to_groups(checkpoint, model, optimizer, 'old.pth')


def test_loaded_state_is_laid_out_like_the_weights():
    """The fused optimizer of a CPU walks through weights and state as they lie in memory, and checks nothing."""
    weight = torch.randn(4, 3, 2, 2)
    after = []
    for layout in (torch.contiguous_format, torch.channels_last):
        param = nn.Parameter(weight.clone(memory_format=layout))
        optimizer = torch.optim.AdamW([param], lr=0.1, fused=True)
        state = dict(
            step=torch.tensor(3.0),
            exp_avg=weight.sin().contiguous(),
            exp_avg_sq=weight.square().contiguous(),
        )
        groups = optimizer.state_dict()['param_groups']
        optimizer.load_state_dict(dict(state={0: state}, param_groups=groups))
        fit_to_layout(optimizer)
        param.grad = weight.cos().contiguous(memory_format=layout)
        optimizer.step()
        after.append(param.detach())
    torch.testing.assert_close(after[1], after[0])
