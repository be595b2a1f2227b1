"""Runs ``setdet`` as where only the extra ``runtime`` is installed: ``python without_stack.py COMMAND ...``.

What else this machine has can neither be imported nor be asked for its version.
"""

import importlib.metadata as metadata
import sys
from importlib.abc import MetaPathFinder

KEPT = {'mmdet_setdet', 'numpy', 'PIL', 'onnxruntime', 'google', 'flatbuffers', 'packaging'}


class Refuser(MetaPathFinder):
    """Finds no package but those that are kept and those of Python itself."""

    def find_spec(self, name, path=None, target=None):
        first = name.partition('.')[0]
        if first not in KEPT | sys.stdlib_module_names:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


def no_distribution(name):
    raise metadata.PackageNotFoundError(name)


if __name__ == '__main__':
    sys.meta_path.insert(0, Refuser())
    metadata.distribution = no_distribution
    from mmdet_setdet.commands import main

    main()
