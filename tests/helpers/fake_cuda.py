"""A GPU for tests on machines without one: tensors that compute on the CPU and say that they are on ``cuda:0``.

Within :class:`FakeCUDA` whatever is made on or moved to ``cuda`` is a :class:`FakeCUDATensor`. The program takes the
paths that it takes on a GPU, with real numbers:

- Tensors of both devices in one computation are an error, as on a GPU. A CPU scalar without dimensions is not.
- Autocast is that of CUDA: its lists of operators decide what is computed in half precision.
- Every wait of the host for the device is recorded, see :class:`Sync`.

What is replaced, and why:

- Torch's guard and hooks of CUDA (``fake_cuda.cpp``), which autograd asks for streams and which a CPU build lacks.
- Backward runs in one thread: torch starts its threads per device once, when a process has no fake GPU yet.
- Attention takes the plain path: the fused kernels of a GPU have no counterpart on the CPU.
- mmcv's compiled operators, of which a CPU build lacks some, by stand-ins that check what the kernels demand.
- Questions whether there is a GPU, and pinned memory.

It cannot tell how long a GPU takes, what its kernels round, or whether one is missing for a type.
"""

import ctypes
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import mmcv._ext
import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    return_and_correct_aliasing,
)

from helpers.fake_kernels import KERNELS

aten = torch.ops.aten
DEVICE = torch.device('cuda:0')
SOURCE = Path(__file__).with_suffix('.cpp')

# Operators after which the host knows a number or a shape that only the device could tell.
READS = {
    aten._local_scalar_dense: 'item',
    aten.equal: 'equal',
    aten.nonzero: 'nonzero',
    aten.masked_select: 'masked_select',
    aten._unique2: 'unique',
    aten.unique_dim: 'unique',
    aten.unique_consecutive: 'unique',
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
COPIES = {aten._to_copy, aten.copy_}


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    return x.float().softmax(dim) if half_to_float else x.softmax(dim)


def _softmax_backward(grad: Tensor, output: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return aten._softmax_backward_data(grad, output, dim, output.dtype).to(dtype)


def _summed_in_float32(product):
    """The product as a GPU computes it from halves; most CPUs take far longer in another type."""

    def compute(*args, **options):
        types = {arg.dtype for arg in args if isinstance(arg, Tensor)}
        if len(types) > 1 or not types & {torch.float16, torch.bfloat16}:
            return product(*args, **options)
        args = [arg.float() if isinstance(arg, Tensor) else arg for arg in args]
        return _map_tensors(lambda result: result.to(*types), product(*args, **options))

    return compute


PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.convolution, aten.convolution_backward)
# The CPU has no softmax from half precision to float32.
OTHERWISE_ON_CPU = {
    aten._softmax: _softmax,
    aten._softmax_backward_data: _softmax_backward,
    **{product: _summed_in_float32(product) for product in PRODUCTS},
}


@dataclass(frozen=True)
class Sync:
    """A wait of the host for the device.

    Attributes:
        kind (str): The operator, or 'copy to the host', or 'copy to the device' if that is a blocking one.
        module (str): Module of the function of mmdet or of ours that asked for it.
        function (str): Its name.
    """

    kind: str
    module: str
    function: str

    @classmethod
    def by_caller(cls, kind: str) -> 'Sync':
        """Return the sync that the function of mmdet or of ours next up the stack asks for."""
        frame = sys._getframe(1)
        while frame and 'mmdet' not in frame.f_globals.get('__name__', ''):
            frame = frame.f_back
        if frame is None:
            return cls(kind, '?', '?')
        return cls(kind, frame.f_globals['__name__'], frame.f_code.co_name)


class FakeCUDATensor(Tensor):
    """A tensor on ``cuda:0`` whose ``values`` are a tensor on the CPU; only within :class:`FakeCUDA`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> 'FakeCUDATensor':
        tensor = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        tensor.values = values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f'{func}: a FakeCUDATensor can be used within FakeCUDA only')

    def tolist(self) -> list:
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f'FakeCUDATensor({self.values})'


class FakeCUDA(TorchDispatchMode):
    """A context in which there is a GPU, see the module.

    Args:
        without (Collection[str]): Compiled operators of mmcv that the build lacks.

    Attributes:
        syncs (list[Sync]): What made the host wait for the device.
        num_copies (int): Number of copies to the device that nobody waited for.
    """

    def __init__(self, without: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.kernels = {name: kernel for name, kernel in KERNELS.items() if name not in without}
        self.syncs = []
        self.num_copies = 0

    def __enter__(self) -> 'FakeCUDA':
        with ExitStack() as stack:
            for target, name, replacement in self._replacements():
                stack.enter_context(mock.patch.object(target, name, replacement))
            library = _library()
            library.install()
            stack.callback(library.uninstall)
            stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
            torch._C._set_only_lift_cpu_tensors(True)
            # A parameter that is moved is a new one, as the old one's class is kept otherwise.
            overwrite = torch.__future__.set_overwrite_module_params_on_conversion
            stack.callback(overwrite, torch.__future__.get_overwrite_module_params_on_conversion())
            overwrite(True)
            stack.enter_context(torch.autograd.set_multithreading_enabled(False))
            self._stack = stack.pop_all()
        return super().__enter__()

    def __exit__(self, *exception) -> None:
        super().__exit__(*exception)
        self._stack.close()

    def _replacements(self):
        yield torch.cuda, 'is_available', lambda: True
        yield torch.cuda, 'is_bf16_supported', lambda: True
        yield torch.cuda, '_lazy_init', lambda: None
        yield Tensor, 'pin_memory', lambda tensor: tensor
        for name, kernel in self.kernels.items():
            yield mmcv._ext, name, _on_values(kernel)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        operator = func.overloadpacket
        tensors = _tensors(args) + _tensors(tuple(kwargs.values()))
        is_fake = [isinstance(tensor, FakeCUDATensor) for tensor in tensors]
        to_device = any(is_fake)
        if operator is aten.copy_:
            to_device = is_fake[0]
        if kwargs.get('device') is not None:
            to_device = kwargs['device'].type == 'cuda'
            kwargs['device'] = torch.device('cpu')
        if operator in COPIES:
            self._record_copy(is_fake[-1], to_device, kwargs.get('non_blocking', args[2:]))
        else:
            _check_devices(func, tensors, is_fake)
            self._record_read(operator, args, any(is_fake))
        if operator is aten._fused_sdp_choice:
            return torch.nn.attention.SDPBackend.MATH.value
        options = {name: _values(value) for name, value in kwargs.items()}
        result = OTHERWISE_ON_CPU.get(operator, func)(*_values(args), **options)
        if to_device:
            result = _map_tensors(FakeCUDATensor, result)
        return return_and_correct_aliasing(func, args, kwargs, result)

    def _record_copy(self, from_device: bool, to_device: bool, non_blocking) -> None:
        if from_device and not to_device:
            self.syncs.append(Sync.by_caller('copy to the host'))
        elif to_device and not from_device and non_blocking:
            self.num_copies += 1
        elif to_device and not from_device:
            self.syncs.append(Sync.by_caller('copy to the device'))

    def _record_read(self, operator, args: tuple, on_device: bool) -> None:
        if not on_device:
            return
        kind = READS.get(operator)
        if operator in INDEXING:
            is_mask = [index is not None and index.dtype == torch.bool for index in args[1]]
            kind = 'index by a mask' if any(is_mask) else None
        if kind:
            self.syncs.append(Sync.by_caller(kind))

    def count(self) -> Counter:
        """Count the syncs by the function that asked for them."""
        return Counter(f'{sync.module}.{sync.function}: {sync.kind}' for sync in self.syncs)


def _map_tensors(function, tree):
    """Return a tensor, or lists and tuples of anything, with the function's result in place of each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, list | tuple):
        return type(tree)([_map_tensors(function, branch) for branch in tree])
    return tree


def _values(tree):
    """Return the tensors on the CPU behind those of the device."""
    return _map_tensors(
        lambda tensor: tensor.values if isinstance(tensor, FakeCUDATensor) else tensor, tree
    )


def _tensors(tree) -> list[Tensor]:
    found = []
    _map_tensors(found.append, tree)
    return found


def _check_devices(func, tensors: list[Tensor], is_fake: list[bool]) -> None:
    if not any(is_fake):
        return
    for tensor, fake in zip(tensors, is_fake):
        if not fake and tensor.dim():
            raise RuntimeError(
                f'{func}: a tensor of shape {tuple(tensor.shape)} is on the CPU, others are on {DEVICE}'
            )


def _on_values(kernel):
    """Return an operator for tensors on the device."""

    def call(*args, **kwargs):
        for tensor in _tensors(args):
            if tensor.device != DEVICE:
                raise RuntimeError(f'{kernel.__name__}: a tensor is not on {DEVICE}')
        with _disable_current_modes():
            result = kernel(*_values(args), **kwargs)
        return _map_tensors(FakeCUDATensor, result)

    return call


@cache
def _library() -> ctypes.CDLL:
    """Compile and load ``fake_cuda.cpp``, which takes a second or two."""
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'fake_cuda.so'
        options = ['-shared', '-fPIC', '-std=c++20', f'-I{root}/include', f'-o{path}']
        libraries = [f'-L{root}/lib', '-lc10', '-ltorch_cpu']
        subprocess.run(['g++', *options, SOURCE, *libraries], check=True)
        return ctypes.CDLL(path)
