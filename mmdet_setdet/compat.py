"""Checked before anything else when the package is imported: that torch and one whole stack are installed.

mmdet asserts on mmcv's version and mmcv fails inside its binary, both with messages that do not say what to do. So
versions are read from the installed metadata, without importing mmdet, mmcv or mmengine.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from .errors import InputError


class Need(NamedTuple):
    """One distribution.

    Attributes:
        module (str): Name of its module.
        distribution (str): Its own name.
        tested (str): The tested version, which is the oldest accepted one, too.
        below (str): The first version that is not accepted.
    """

    module: str
    distribution: str
    tested: str
    below: str

    @property
    def accepted(self) -> str:
        """The accepted versions, for messages."""
        return f'{self.distribution} >={self.tested},<{self.below}'

    @property
    def command(self) -> str:
        """The command that installs the tested version."""
        options = '--no-deps'
        variables = ''
        if self.module == 'mmcv':
            options += ' --no-build-isolation --no-cache-dir --force-reinstall'
            variables = 'MMCV_WITH_OPS=1 '
        return f"{variables}pip install {options} '{self.distribution}=={self.tested}'"

    def accepts(self, version: str | None) -> bool:
        """Whether a version, None if not installed, is accepted; a local build such as 2.1.0+cu130 counts as 2.1.0."""
        if version is None:
            return False
        public = Version(Version(version).public)
        return Version(self.tested) <= public < Version(self.below)


# Older torch has no list of the classes that a checkpoint may hold, without which none is loaded safely.
OLDEST_TORCH = '2.6'
TESTED_TORCH = '2.13.0'
STACKS = {
    'default': (
        Need('mmengine', 'onedl-mmengine', '0.10.12', '0.11'),
        Need('mmcv', 'onedl-mmcv', '2.3.6', '2.4'),
        Need('mmdet', 'onedl-mmdetection', '3.5.1', '3.6'),
    ),
    'upstream': (
        Need('mmengine', 'mmengine', '0.10.7', '0.11'),
        Need('mmcv', 'mmcv', '2.1.0', '2.2'),
        Need('mmdet', 'mmdet', '3.3.0', '3.4'),
    ),
}
# What the segmentation configs need besides.
MMSEG = {
    'default': Need('mmseg', 'onedl-mmsegmentation', '1.4.2', '1.5'),
    'upstream': Need('mmseg', 'mmsegmentation', '1.2.2', '1.3'),
}
# All distributions known to contain a module.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'onedl-mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
# What mmdet asks for by itself; one that was installed with --no-deps may lack it.
COMPANIONS = ('scipy', 'pycocotools')
MAKE_ENV = '`make env` in a checkout of mmdet_setdet makes an environment with all of it'

Installed = dict[str, str]  # distribution -> version


def check_stack() -> None:
    """Check torch, mmengine, mmcv with its compiled ops, and mmdet.

    Raises:
        ImportError: Something is missing, too old or too new, of two stacks at once, or does not load; the message
            names what was found, what works and the command that installs it.
    """
    _check_torch()
    installed = {need.module: _installed(DISTRIBUTIONS[need.module]) for need in STACKS['default']}
    for module, found in installed.items():
        if len(found) > 1:
            raise ImportError(_describe_mixture(module, found))
    mismatches = {stack: _mismatches(needs, installed) for stack, needs in STACKS.items()}
    stack = min(mismatches, key=lambda name: len(mismatches[name]))
    if mismatches[stack]:
        raise ImportError(_describe_mismatches(stack, mismatches[stack], installed))
    _, mmcv, _ = STACKS[stack]
    _check_ops(mmcv)
    _check_companions()


def _describe_mixture(module: str, found: Installed) -> str:
    needs = [need for stack in STACKS.values() for need in stack if need.module == module]
    accepted = ' or '.join(need.accepted for need in needs)
    commands = ' or '.join(f'`{need.command}`' for need in needs)
    return (
        f'mmdet_setdet found {_join(found, " and ")}, which are installed over each other, but works with {accepted} '
        f'alone: `pip uninstall -y {" ".join(found)}`, then {commands}; {MAKE_ENV}.'
    )


def _describe_mismatches(
    stack: str, mismatches: list[Need], installed: dict[str, Installed]
) -> str:
    first = mismatches[0].module
    found = _join(installed[first]) or f'no {first}'
    others = {}
    for module, distributions in installed.items():
        if module != first:
            others.update(distributions)
    beside = f' (beside {_join(others)})' if others else ''
    accepted = ', '.join(need.accepted for need in STACKS[stack])
    commands = '; '.join(_replace(need, installed[need.module]) for need in mismatches)
    return f'mmdet_setdet found {found}{beside}, but the {stack} stack works with {accepted}: {commands}; {MAKE_ENV}.'


def check_mmseg(config: str) -> None:
    """Check that the mmseg of the stack is installed, before a config of segmentation is read.

    Raises:
        InputError: It is not; the message names the config and the command that installs it.
    """
    mmengine = STACKS['default'][0]
    stack = 'default' if _installed([mmengine.distribution]) else 'upstream'
    need = MMSEG[stack]
    found = _installed(DISTRIBUTIONS['mmseg'])
    if not need.accepts(found.get(need.distribution)):
        raise InputError(
            f'{config}: segmentation runs on mmseg, here (the {stack} stack) {need.accepted}, but there is '
            f'{_join(found, " and ") or "no mmseg"}: {_replace(need, found)} and `pip install ftfy prettytable regex`; '
            f'{MAKE_ENV}'
        )


def _installed(distributions: Iterable[str]) -> Installed:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _mismatches(needs: Iterable[Need], installed: dict[str, Installed]) -> list[Need]:
    """Return those needs that the installed distributions do not meet."""
    return [
        need for need in needs if not need.accepts(installed[need.module].get(need.distribution))
    ]


def _check_torch() -> None:
    works = f'>={OLDEST_TORCH} (tested with {TESTED_TORCH})'
    command = f'`pip install torch=={TESTED_TORCH}`'
    version = _installed(['torch']).get('torch')
    if version is None and importlib.util.find_spec('torch') is None:
        raise ImportError(f'mmdet_setdet found no torch but needs {works}: {command}; {MAKE_ENV}.')
    if version is not None and Version(version) < Version(OLDEST_TORCH):
        raise ImportError(
            f'mmdet_setdet found torch {version} but works with {works}: {command}, then build mmcv against it again; '
            f'{MAKE_ENV}.'
        )


def _check_ops(mmcv: Need) -> None:
    """Check that mmcv's compiled ops exist and load with this torch."""
    found = _join(_installed([mmcv.distribution]))
    build = f'`{mmcv.command}` (compiles for minutes); {MAKE_ENV}.'
    folders = importlib.util.find_spec('mmcv').submodule_search_locations
    if not any(list(Path(folder).glob('_ext*')) for folder in folders):
        raise ImportError(
            f'mmdet_setdet found {found} without its compiled ops, but works with {mmcv.accepted} built with them: '
            f'{build}'
        )
    try:
        importlib.import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        torch = _join(_installed(['torch'])) or 'torch'
        raise ImportError(
            f'mmdet_setdet found {found}, whose compiled ops do not load against {torch} ({error}), but works with '
            f'{mmcv.accepted} built against the torch that is installed: {build}'
        ) from error


def _check_companions() -> None:
    missing = [name for name in COMPANIONS if importlib.util.find_spec(name) is None]
    if missing:
        names = ' '.join(missing)
        raise ImportError(
            f'mmdet_setdet found no {names}, which mmdet asks for as well: `pip install {names}`; '
            f'{MAKE_ENV}.'
        )


def _replace(need: Need, found: Installed) -> str:
    """Return the commands that replace the installed distributions of a module by the needed one."""
    others = [name for name in found if name != need.distribution]
    uninstall = f'`pip uninstall -y {" ".join(others)}` and ' if others else ''
    return f'{uninstall}`{need.command}`'


def _join(distributions: Installed, separator: str = ', ') -> str:
    return separator.join(f'{name} {version}' for name, version in distributions.items())
