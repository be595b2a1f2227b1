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
    groups = optimizer.param_groups
    if len(old) == len(groups):
        return
    # mmengine's constructor goes through the model in the order of its parameters.
    in_groups = {id(param) for group in groups for param in group['params']}
    trained = [param for param in model.parameters() if id(param) in in_groups]
    number = {id(param): index for index, param in enumerate(trained)}
    members = [[number[id(param)] for param in group['params']] for group in groups]
    if len(old) != len(trained):
        raise InputError(
            f'{file}: its optimizer has {len(old)} parameter groups, the config makes {len(groups)} of '
            f'{len(trained)} parameters; resume with the optim_wrapper that it was trained with'
        )
    new = []
    state = {}
    for indices in members:
        joined = _by_settings([old[index] for index in indices])
        if len(joined) > 1:
            raise InputError(
                f'{file}: gave different settings of the optimizer to parameters that share them in the config; '
                'resume with the paramwise_cfg that it was trained with'
            )
        start = sum(len(group['params']) for group in new)
        new.append({**_settings(old[indices[0]]), 'params': list(range(start, start + len(indices)))})
        for position, index in enumerate(indices, start):
            if index in saved['state']:
                state[position] = saved['state'][index]
    saved.update(param_groups=new, state=state)
    firsts = [indices[0] for indices in members]
    for scheduler in checkpoint.get('param_schedulers') or []:
        for key in PER_GROUP.intersection(scheduler):
            values = scheduler[key]
            # The last is mmengine's own, of the settings that no group has.
            scheduler[key] = [values[first] for first in firsts] + values[len(old) :]


def fit_to_layout(optimizer: Optimizer) -> None:
    """Lay the loaded state of an optimizer out in memory as its parameters: fused optimizers walk both at once."""
    for param, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == param.shape:
                laid_out = torch.empty_like(param, dtype=value.dtype, requires_grad=False)
                state[name] = laid_out.copy_(value)
