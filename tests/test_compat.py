"""Importing the package with something missing or mismatched: one sentence that says what, and what to do.

Each case is a folder of fake metadata, imported by a Python that sees nothing else: no torch, no mmdet, so it is fast,
and so an import that is not stopped by the check fails with another error.
"""

import subprocess
import sys
from pathlib import Path

import packaging
import pytest
from helpers.configs import REPOSITORY

from mmdet_setdet.compat import MMSEG, STACKS, TESTED_TORCH, check_stack

ROOT = REPOSITORY
FORK = {
    'torch': '2.13.0+cpu',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
}
UPSTREAM = {'torch': '2.13.0+cpu', 'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0'}
BROKEN_OPS = 'raise ImportError("undefined symbol: _ZN3c10")'


def import_error(folder: Path, versions: dict, ops: str | None = BROKEN_OPS) -> str:
    """The last line of what ``import mmdet_setdet`` prints among these distributions."""
    for name, version in versions.items():
        info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    (folder / 'mmcv').mkdir()
    (folder / 'mmcv' / '__init__.py').touch()
    if ops is not None:
        (folder / 'mmcv' / '_ext.py').write_text(ops)
    (folder / 'packaging').symlink_to(Path(packaging.__file__).parent)
    code = f'import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]; import mmdet_setdet'
    done = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True)
    assert done.returncode != 0
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ('versions', 'found', 'works', 'command'),
    [
        ({**FORK, 'torch': '2.5.1'}, 'found torch 2.5.1', '>=2.6', 'pip install torch=='),
        (
            {k: v for k, v in FORK.items() if k != 'torch'},
            'found no torch',
            '>=2.6',
            'pip install torch==',
        ),
        (
            {'torch': '2.13.0'},
            'found no mmengine',
            'onedl-mmengine >=0.10.12,<0.11',
            "'onedl-mmcv==2.3.6'",
        ),
        (
            {**FORK, 'onedl-mmengine': '0.9.0'},
            'found onedl-mmengine 0.9.0',
            'onedl-mmengine >=0.10.12,<0.11',
            "pip install --no-deps 'onedl-mmengine==0.10.12'",
        ),
        ({**UPSTREAM, 'mmcv': '2.2.0'}, 'found mmcv 2.2.0', 'mmcv >=2.1.0,<2.2', "'mmcv==2.1.0'"),
        (
            {**UPSTREAM, 'mmdet': '2.28.2'},
            'found mmdet 2.28.2',
            'mmdet >=3.3.0,<3.4',
            "'mmdet==3.3.0'",
        ),
        (
            {k: v for k, v in UPSTREAM.items() if k != 'mmdet'},
            'found no mmdet',
            'mmdet >=3.3.0,<3.4',
            "'mmdet==3.3.0'",
        ),
        (
            {**{k: v for k, v in UPSTREAM.items() if k != 'mmcv'}, 'mmcv-lite': '2.1.0'},
            'found mmcv-lite 2.1.0',
            'mmcv >=2.1.0,<2.2',
            '`pip uninstall -y mmcv-lite` and `MMCV_WITH_OPS=1 pip install',
        ),
        # a mixture of stacks
        (
            {**{k: v for k, v in FORK.items() if k != 'onedl-mmcv'}, 'mmcv': '2.1.0'},
            'found mmcv 2.1.0',
            'onedl-mmcv >=2.3.6,<2.4',
            '`pip uninstall -y mmcv` and',
        ),
        # both at once, in each other's folder
        (
            {**FORK, 'mmcv': '2.1.0'},
            'found onedl-mmcv 2.3.6 and mmcv 2.1.0',
            'mmcv >=2.1.0,<2.2',
            'pip uninstall -y onedl-mmcv mmcv',
        ),
    ],
)
def test_mismatch_is_one_sentence(tmp_path, versions, found, works, command):
    message = import_error(tmp_path, versions)
    assert message.startswith('ImportError: mmdet_setdet found')
    for part in (found, works, command, 'make env'):
        assert part in message


def test_mmcv_without_ops(tmp_path):
    message = import_error(tmp_path, UPSTREAM, ops=None)
    assert 'mmcv 2.1.0 without its compiled ops' in message
    assert 'MMCV_WITH_OPS=1 pip install' in message


@pytest.mark.parametrize(
    'versions', [FORK, UPSTREAM, {**UPSTREAM, 'torch': '3.1.0', 'mmcv': '2.1.0+cu130'}]
)
def test_ops_that_do_not_load(tmp_path, versions):
    """Right versions, newer torch included, go as far as loading the ops."""
    message = import_error(tmp_path, versions)
    assert f'do not load against torch {versions["torch"]} (undefined symbol: _ZN3c10)' in message
    assert 'MMCV_WITH_OPS=1 pip install' in message


def test_companions_of_mmdet(tmp_path):
    message = import_error(tmp_path, FORK, ops='')
    assert 'found no scipy pycocotools' in message
    assert '`pip install scipy pycocotools`' in message


def test_this_environment_passes():
    check_stack()


@pytest.mark.parametrize('stack', STACKS)
def test_versions_are_those_that_set_up_installs(stack):
    pins = set((ROOT / 'requirements' / f'{stack}.txt').read_text().splitlines()[1:])
    assert {f'{need.distribution}=={need.tested}' for need in STACKS[stack]} == pins
    mmseg = (ROOT / 'requirements' / f'{stack}-seg.txt').read_text().splitlines()[1:]
    assert mmseg == [f'{MMSEG[stack].distribution}=={MMSEG[stack].tested}']
    assert f'torch=={TESTED_TORCH}' in (ROOT / 'requirements' / 'torch.txt').read_text()
