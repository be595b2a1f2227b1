"""What is checked before anything else when the package is imported: that torch and one whole stack are there.

mmdet asserts on mmcv's version and mmcv fails inside its binary, both with messages that do not say what to do. So
versions are read from the installed metadata, and mmdet, mmcv and mmengine are not imported for it.
"""
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from .errors import InputError


class Need(NamedTuple):
    """One distribution: its tested version, which is the oldest accepted one too, and the first not accepted."""

    module: str
    distribution: str
    tested: str
    below: str

    @property
    def accepted(self) -> str:
        """The range in words."""
        return f'{self.distribution} >={self.tested},<{self.below}'

    @property
    def command(self) -> str:
        """What installs the tested version."""
        if self.module != 'mmcv':
            return f"pip install --no-deps '{self.distribution}=={self.tested}'"
        return ('MMCV_WITH_OPS=1 pip install --no-deps --no-build-isolation --no-cache-dir --force-reinstall '
                f"'{self.distribution}=={self.tested}'")


# Older torch has no list of the classes that a checkpoint may hold, without which none is loaded safely.
OLDEST_TORCH, TESTED_TORCH = '2.6', '2.13.0'
STACKS = {
    'default': (Need('mmengine', 'onedl-mmengine', '0.10.12', '0.11'), Need('mmcv', 'onedl-mmcv', '2.3.6', '2.4'),
                Need('mmdet', 'onedl-mmdetection', '3.5.1', '3.6')),
    'upstream': (Need('mmengine', 'mmengine', '0.10.7', '0.11'), Need('mmcv', 'mmcv', '2.1.0', '2.2'),
                 Need('mmdet', 'mmdet', '3.3.0', '3.4')),
}
# What the segmentation configs need besides.
MMSEG = {
    'default': Need('mmseg', 'onedl-mmsegmentation', '1.4.2', '1.5'),
    'upstream': Need('mmseg', 'mmsegmentation', '1.2.2', '1.3'),
}
# Every distribution known to bring the module.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'onedl-mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
EVERYTHING = '`make env` in a checkout of mmdet_setdet makes an environment with all of it'


def check_stack() -> None:
    """Check torch, mmengine, mmcv with its compiled ops, and mmdet.

    Raises:
        ImportError: Something is missing, too old or too new, of two stacks at once, or does not load; the message
            names what was found, what works and the command that gets it.
    """
    _check_torch()
    installed = {need.module: _installed(*DISTRIBUTIONS[need.module]) for need in STACKS['default']}
    for module, found in installed.items():
        if len(found) > 1:
            names = ' and '.join(f'{name} {version}' for name, version in found.items())
            raise ImportError(
                f'mmdet_setdet found {names}, which are installed over each other, but works with '
                f'{_choices(module)} alone: `pip uninstall -y {" ".join(found)}`, then '
                f'{_commands(module)}; {EVERYTHING}.')
    problems = {stack: _mismatches(needs, installed) for stack, needs in STACKS.items()}
    stack = min(problems, key=lambda name: len(problems[name]))
    if problems[stack]:
        need = problems[stack][0]
        found = ' '.join(*installed[need.module].items()) if installed[need.module] else f'no {need.module}'
        others = [items for module, items in installed.items() if module != need.module]
        beside = ', '.join(' '.join(item) for items in others for item in items.items())
        raise ImportError(
            f'mmdet_setdet found {found}{f" (beside {beside})" if beside else ""}, but the {stack} stack works with '
            f'{", ".join(each.accepted for each in STACKS[stack])}: '
            f'{"; ".join(_replace(each, installed) for each in problems[stack])}; {EVERYTHING}.')
    _check_ops(next(need for need in STACKS[stack] if need.module == 'mmcv'))


def check_mmseg(config: str) -> None:
    """Check that the mmseg of the stack is there, before a config of segmentation is read.

    Raises:
        InputError: It is not; the message names the config and the command that gets it.
    """
    stack = 'default' if _installed(STACKS['default'][0].distribution) else 'upstream'
    need, installed = MMSEG[stack], {'mmseg': _installed(*DISTRIBUTIONS['mmseg'])}
    if _mismatches((need, ), installed):
        found = ' and '.join(map(' '.join, installed['mmseg'].items())) or 'no mmseg'
        raise InputError(
            f'{config}: segmentation runs on mmseg, here (the {stack} stack) {need.accepted}, but there is {found}: '
            f'{_replace(need, installed)} and `pip install ftfy prettytable regex`; {EVERYTHING}')


def _installed(*distributions: str) -> dict[str, str]:
    """Versions of those of the distributions that are installed, by name."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _mismatches(needs: tuple[Need, ...], installed: dict[str, dict[str, str]]) -> list[Need]:
    """Those needs that the installed distributions do not meet."""
    def is_met(need: Need) -> bool:
        version = installed[need.module].get(need.distribution)
        # The public version only: a local build such as 2.1.0+cu130 counts as 2.1.0.
        return version is not None and Version(need.tested) <= Version(Version(version).public) < Version(need.below)

    return [need for need in needs if not is_met(need)]


def _check_torch() -> None:
    command = f'`pip install torch=={TESTED_TORCH}`'
    found = _installed('torch').get('torch')
    if found is None and importlib.util.find_spec('torch') is None:
        raise ImportError(f'mmdet_setdet found no torch but needs >={OLDEST_TORCH} (tested with {TESTED_TORCH}): '
                          f'{command}; {EVERYTHING}.')
    if found is not None and Version(found) < Version(OLDEST_TORCH):
        raise ImportError(f'mmdet_setdet found torch {found} but works with >={OLDEST_TORCH} (tested with '
                          f'{TESTED_TORCH}): {command}, then build mmcv against it again; {EVERYTHING}.')


def _check_ops(need: Need) -> None:
    """That mmcv's compiled ops are there and load against this torch."""
    version = importlib.metadata.version(need.distribution)
    folders = importlib.util.find_spec('mmcv').submodule_search_locations
    if not any(ops for folder in folders for ops in Path(folder).glob('_ext*')):
        raise ImportError(f'mmdet_setdet found {need.distribution} {version} without its compiled ops, but works with '
                          f'{need.accepted} built with them: `{need.command}` (compiles for minutes); {EVERYTHING}.')
    try:
        importlib.import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        torch = ' '.join(('torch', *_installed('torch').values()))
        raise ImportError(
            f'mmdet_setdet found {need.distribution} {version}, whose compiled ops do not load against {torch} '
            f'({error}), but works with {need.accepted} built against the torch that is installed: '
            f'`{need.command}` (compiles for minutes); {EVERYTHING}.') from error


def _replace(need: Need, installed: dict[str, dict[str, str]]) -> str:
    """The commands that put what is needed in place of what is there."""
    others = [name for name in installed[need.module] if name != need.distribution]
    return (f'`pip uninstall -y {" ".join(others)}` and ' if others else '') + f'`{need.command}`'


def _choices(module: str) -> str:
    return ' or '.join(need.accepted for needs in STACKS.values() for need in needs if need.module == module)


def _commands(module: str) -> str:
    return ' or '.join(f'`{need.command}`' for needs in STACKS.values() for need in needs if need.module == module)
