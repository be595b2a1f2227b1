"""Parameter groups of the optimizer: one per setting instead of one per parameter, also when an older run is resumed.

mmengine makes a group of every parameter as soon as ``paramwise_cfg`` is set. A fused optimizer then starts its kernels
hundreds of times per step, once per group.
"""

from collections.abc import Sequence

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.optim import Optimizer

from ..errors import InputError
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

# What a scheduler of mmengine has for each parameter group.
PER_GROUP = {'base_values', '_last_value', 'min_values'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with its arguments, after which parameters of equal settings share a group.

    A group stands where its first parameter stood, so that the logged learning rate remains the same.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model."""
        wrapper = super().__call__(model)
        groups = wrapper.optimizer.param_groups
        groups[:] = [_join(equal) for equal in _by_settings(groups)]
        return wrapper


def _settings(group: dict) -> dict:
    return {key: value for key, value in group.items() if key != 'params'}


def _by_settings(groups: Sequence[dict]) -> list[list[dict]]:
    """Sort groups into lists of those that differ in nothing but their parameters."""
    lists = []
    for group in groups:
        for equal in lists:
            if _settings(equal[0]) == _settings(group):
                equal.append(group)
                break
        else:
            lists.append([group])
    return lists


def _join(groups: Sequence[dict]) -> dict:
    params = [param for group in groups for param in group['params']]
    return {**_settings(groups[0]), 'params': params}


def fit_to_groups(checkpoint: dict, model: nn.Module, optimizer: Optimizer, file: str) -> None:
    """Change a checkpoint with one parameter group per parameter in place, so that the optimizer can load it.

    For example, weights a and c learn at rate 1, b at 0.1. An optimizer's state numbers the parameters in the order of
    its groups::

        checkpoint   groups  [a] [b] [c]   state  0: a  1: b  2: c
        optimizer    groups  [a c] [b]     state  0: a  1: c  2: b

    A checkpoint that has the optimizer's groups is left as it is.

    Args:
        checkpoint (dict): ``optimizer`` and ``param_schedulers`` of mmengine's.
        model (nn.Module): The model whose parameters the optimizer has.
        optimizer (Optimizer): The optimizer.
        file (str): Name of the checkpoint, for the message.

    Raises:
        InputError: Parameters whose settings are equal in the config had unequal ones in the checkpoint, or it has
            another number of parameters.
    """
    saved = checkpoint['optimizer']
    old = saved['param_groups']
    if len(old) == len(optimizer.param_groups):
        return
    members = _numbers_of_params(model, optimizer)
    order = [number for numbers in members for number in numbers]
    if len(old) != len(order):
        raise InputError(
            f'{file}: its optimizer has {len(old)} parameter groups, the config makes {len(members)} of '
            f'{len(order)} parameters; resume with the optim_wrapper that it was trained with'
        )
    groups = []
    for numbers in members:
        equal = _by_settings([old[number] for number in numbers])
        if len(equal) > 1:
            raise InputError(
                f'{file}: gave different settings of the optimizer to parameters that share them in the config; '
                'resume with the paramwise_cfg that it was trained with'
            )
        positions = [order.index(number) for number in numbers]
        groups.append({**_settings(old[numbers[0]]), 'params': positions})
    state = saved['state']
    state = {new: state[number] for new, number in enumerate(order) if number in state}
    saved.update(param_groups=groups, state=state)

    firsts = [numbers[0] for numbers in members]
    for scheduler in checkpoint.get('param_schedulers') or []:
        for key in PER_GROUP.intersection(scheduler):
            values = scheduler[key]
            # The last is mmengine's own, of the settings that no group has.
            scheduler[key] = [values[first] for first in firsts] + values[len(old) :]


def _numbers_of_params(model: nn.Module, optimizer: Optimizer) -> list[list[int]]:
    """Return for each group the numbers that its parameters have in mmengine's order, which is the model's."""
    groups = [[id(param) for param in group['params']] for group in optimizer.param_groups]
    trained = set().union(*groups)
    in_order = [id(param) for param in model.parameters() if id(param) in trained]
    return [[in_order.index(param) for param in group] for group in groups]


def fit_to_layout(optimizer: Optimizer) -> None:
    """Lay the loaded state of an optimizer out in memory as its parameters: fused optimizers walk both at once."""
    for param, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == param.shape:
                laid_out = torch.empty_like(param, dtype=value.dtype, requires_grad=False)
                state[name] = laid_out.copy_(value)
