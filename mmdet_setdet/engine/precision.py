"""Mixed precision: the types that a device has, training and testing in them, and what stays in float32."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MethodType

import torch
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d, MultiScaleDeformableAttention
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.losses import FocalLoss
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ..errors import InputError
from ..models.layers import DeformableAttention
from ..registry import OPTIM_WRAPPERS
from .devices import check_devices

AMP_DTYPES = ('auto', 'bfloat16', 'float16')
HALVES = (torch.bfloat16, torch.float16)
CPU_INFO = Path('/proc/cpuinfo')
# What the kernel calls the instructions that multiply bfloat16: of x86, and of ARM.
BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}


def has_bfloat16(device: str) -> bool:
    """Return whether a device, 'cpu' or 'cuda', multiplies bfloat16 by itself; others emulate it slowly."""
    if device == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == 'cpu' and CPU_INFO.exists():
        return not BFLOAT16_FLAGS.isdisjoint(CPU_INFO.read_text().split())
    return False


def choose_amp_dtype(requested: str = 'auto') -> str:
    """Choose the type of mixed precision on the current device.

    Args:
        requested (str): 'bfloat16', 'float16', or 'auto': bfloat16 where the device multiplies it by itself (GPUs of
            compute capability 8.0 and later, CPUs with avx512_bf16 or amx_bf16), else float16.

    Returns:
        str: 'bfloat16' or 'float16'.

    Raises:
        InputError: The device is a CPU that is no faster in mixed precision, or the type is float16 on a CPU.
    """
    device = get_device()
    if requested == 'auto' and has_bfloat16(device):
        return 'bfloat16'
    if device == 'cpu':
        check_devices()  # says why, if there is a GPU that torch cannot use
        if requested == 'auto':
            raise InputError(
                '--amp: this CPU does not multiply bfloat16 (neither avx512_bf16 nor amx_bf16 is in /proc/cpuinfo), '
                'so that mixed precision is slower than float32; leave the option out, or insist by --amp bfloat16'
            )
        if requested == 'float16':
            raise InputError('--amp float16: needs a GPU and there is none; use --amp bfloat16')
    if requested == 'bfloat16' and not has_bfloat16(device):
        print_log(
            f'--amp bfloat16: this {device} does not multiply bfloat16 by itself; expect it to be slow',
            logger='current',
            level=logging.WARNING,
        )
    return 'float16' if requested == 'auto' else requested


def amp_options(requested: str, options: dict) -> dict:
    """Return the options of a config with those added that train it in mixed precision.

    Args:
        requested (str): As for :func:`choose_amp_dtype`.
        options (dict): The user's own, which come first: ``{'optim_wrapper.loss_scale': 512.}``.

    Raises:
        InputError: See :func:`choose_amp_dtype`.
    """
    dtype = choose_amp_dtype(options.get('optim_wrapper.dtype', requested))
    amp = {'optim_wrapper.dtype': dtype, 'optim_wrapper.type': 'mmdet_setdet.AutocastOptimWrapper'}
    if dtype == 'float16':
        amp['optim_wrapper.type'] = 'AmpOptimWrapper'
        amp['optim_wrapper.loss_scale'] = 'dynamic'
    return {**amp, **options}


def use_amp_in_test(cfg: Config, requested: str) -> None:
    """Make the test of a config compute in mixed precision.

    Raises:
        InputError: See :func:`choose_amp_dtype`.
    """
    dtype = choose_amp_dtype(requested)
    # mmengine's loop has no option for the type: it takes torch's default of the device.
    torch.set_autocast_dtype(get_device(), getattr(torch, dtype))
    cfg.test_cfg.fp16 = True


def set_matmul_precision(precision: str) -> None:
    """Set how exactly float32 matrices are multiplied: 'highest', 'high' (TF32 on a GPU that has it) or 'medium'.

    Raises:
        InputError: It is another word.
    """
    choices = ('highest', 'high', 'medium')
    if precision not in choices:
        raise InputError(f'matmul_precision={precision!r}: must be one of {", ".join(choices)}')
    torch.set_float32_matmul_precision(precision)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Train in bfloat16 under autocast, on any device.

    Bfloat16 has the range of float32, so that no loss is scaled and no step is skipped. That and the CPU are what
    mmengine's ``AmpOptimWrapper`` does not have; it remains the one for float16.

    Args:
        *args: As for mmengine's ``OptimWrapper``.
        dtype (str): 'bfloat16'.
        loss_scale (float | str | dict, optional): Ignored; accepted in place of ``AmpOptimWrapper``.
        **kwargs: As for mmengine's ``OptimWrapper``.

    Raises:
        InputError: ``dtype`` is another.
    """

    def __init__(
        self,
        *args,
        dtype: str = 'bfloat16',
        loss_scale: float | str | dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if dtype != 'bfloat16':
            raise InputError(
                f"optim_wrapper.dtype={dtype}: AutocastOptimWrapper scales no loss; use type='AmpOptimWrapper'"
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and what mmengine's wrapper enters to accumulate gradients."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


# Modules of mmcv and mmdet whose kernels lack bfloat16 or lose too much in float16: boxes of regions in whole pixels,
# the logarithm of float32's smallest number.
FLOAT32_MODULES = (
    BaseRoIExtractor,
    DeformConv2d,
    FocalLoss,
    ModulatedDeformConv2d,
    MultiScaleDeformableAttention,
)
# Heads whose logits and distances mmdet takes as they come to losses, scores and boxes.
FLOAT32_OUTPUTS = (BaseDenseHead, BBoxHead)


def keep_in_float32(model: nn.Module) -> nn.Module:
    """Make those parts of mmdet's models compute in float32 within autocast that half precision breaks.

    These are the modules of :data:`FLOAT32_MODULES` and all that follows the heads of :data:`FLOAT32_OUTPUTS`. Without
    autocast nothing changes. Our own heads and :class:`DeformableAttention` take care of themselves.

    Returns:
        nn.Module: The same model.
    """
    for module in model.modules():
        if isinstance(module, FLOAT32_MODULES) and not isinstance(module, DeformableAttention):
            # Not a closure over the module: a copy of the model must call its own.
            module.forward = MethodType(_in_float32(type(module).forward), module)
        if isinstance(module, FLOAT32_OUTPUTS):
            module.register_forward_hook(_float32_output)
    return model


def _float32_output(module: nn.Module, inputs: tuple, output):
    return _to_float32(output)


def _in_float32(forward: Callable) -> Callable:
    @functools.wraps(forward)
    def wrapped(self, *args, **kwargs):
        devices = [device for device in ('cpu', 'cuda') if torch.is_autocast_enabled(device)]
        if not devices:
            return forward(self, *args, **kwargs)
        args = _to_float32(args)
        kwargs = {name: _to_float32(value) for name, value in kwargs.items()}
        with ExitStack() as stack:
            for device in devices:
                stack.enter_context(torch.autocast(device, enabled=False))
            return forward(self, *args, **kwargs)

    return wrapped


def _to_float32(value):
    """Return a tensor, or a sequence of them, with half precision turned into float32; anything else as it is."""
    if isinstance(value, Tensor) and value.dtype in HALVES:
        return value.float()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_to_float32, value))
    return value
