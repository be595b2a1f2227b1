"""Watches for reads of the device by the host, on machines without one."""

import sys
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class HostReads(TorchDispatchMode):
    """Record which computation would make the host wait for its device, and the function that asks for it.

    Operators whose result's shape or value the host must know are seen by torch's dispatcher; copies to the host are
    not when the device is the host, so these methods are watched.
    """

    OPERATORS = {
        '_local_scalar_dense',
        'nonzero',
        'masked_select',
        'equal',
        'is_nonzero',
        'repeat_interleave',
        '_unique',
        '_unique2',
        'unique_dim',
        'unique_consecutive',
    }
    METHODS = ('cpu', 'numpy', 'item', 'tolist', 'new_tensor')

    def __enter__(self):
        self.seen, self.patches = [], []
        for name in self.METHODS:
            patch = mock.patch.object(
                torch.Tensor, name, self._watched(name, getattr(torch.Tensor, name))
            )
            self.patches.append(patch)
            patch.start()
        return super().__enter__()

    def __exit__(self, *args):
        for patch in self.patches:
            patch.stop()
        return super().__exit__(*args)

    def _watched(self, name, method):
        def call(tensor, *args, **kwargs):
            self._record(name)
            return method(tensor, *args, **kwargs)

        return call

    def _record(self, name):
        frame = sys._getframe(2)
        while frame and 'mmdet' not in frame.f_globals.get('__name__', ''):
            frame = frame.f_back
        self.seen.append(
            (
                name,
                frame.f_globals['__name__'] if frame else '?',
                frame.f_code.co_name if frame else '?',
            )
        )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ('index', 'index_put', 'index_put_', '_index_put_impl_') and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.OPERATORS or by_mask:
            self._record(name)
        return func(*args, **(kwargs or {}))
