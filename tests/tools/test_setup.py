"""What the set-up program decides, and what a built wheel carries."""

import email
import itertools
import os
import subprocess
import sys
import zipfile

import pytest
import torch
from helpers.configs import REPOSITORY
from helpers.tiny_detector import tool

from mmdet_setdet.errors import InputError

ROOT = REPOSITORY
decisions = tool('setup/decisions')


@pytest.mark.parametrize(
    ('line', 'progress'),
    [
        ('  [12/87] c++ -MMD -MF /tmp/build/x.o.d', (12, 87)),
        ('[87/87] c++', (87, 87)),
        ('  creating build/[1/2]', None),
        ('  Running command Building wheel', None),
        ('[notice] pip 1/2', None),
    ],
)
def test_parse_progress(line, progress):
    assert decisions.parse_progress(line) == progress


def test_torch_without_gpu_is_a_cpu_build_wherever_one_is_found():
    first, second, last = (
        args for _, args in decisions.torch_attempts('torch==2.13.0', has_gpu=False)
    )
    assert first == ['torch==2.13.0+cpu']  # what pip is configured to find, no index named
    assert second[0] == 'torch==2.13.0+cpu'
    assert decisions.CPU_INDEX in second
    assert last == ['torch==2.13.0']
    assert 'CUDA' in decisions.torch_attempts('torch==2.13.0', has_gpu=False)[-1][0]


def test_torch_with_gpu_is_never_a_cpu_build_by_choice():
    attempts = [args for _, args in decisions.torch_attempts('torch==2.13.0', has_gpu=True)]
    assert attempts == [['torch===2.13.0'], ['torch==2.13.0']]


@pytest.mark.parametrize(
    ('gpu', 'nvcc', 'torch_cuda', 'ops', 'loses'),
    [
        ('', '13.0', '', 'cpu', ''),  # a compiler alone is no reason
        ('', '13.0', '13.0', 'cpu', ''),
        ('9.0', '13.0', '13.0', 'cu130-sm90', ''),
        ('9.0', '13.1', '13.0', 'cu131-sm90', ''),
        ('9.0', '', '13.0', 'cpu', 'NMS'),
        ('9.0', '12.4', '13.0', 'cpu', 'nvcc is of CUDA 12.4'),
        ('9.0', '13.0', '', 'cpu', 'the GPU will not be used'),
    ],
)
def test_choose_ops(gpu, nvcc, torch_cuda, ops, loses):
    chosen, lost = decisions.choose_ops(gpu, nvcc, torch_cuda)
    assert chosen == ops
    assert loses in lost
    assert bool(lost) == bool(loses)


def test_wheel_key_tells_all_that_a_binary_depends_on():
    key = ('2.13.0+cpu', 'cp311', 'cpu', 'linux_x86_64')
    keys = {decisions.wheel_key(*key)}
    for index, other in enumerate(('2.14.0+cpu', 'cp312', 'cu130-sm90', 'linux_aarch64')):
        keys.add(decisions.wheel_key(*key[:index], other, *key[index + 1 :]))
    assert len(keys) == 5


def test_digest_tells_environments_apart(tmp_path):
    cases = itertools.product(decisions.STACKS, (tmp_path, tmp_path / 'x'))
    digests = {decisions.environment_digest(stack, folder) for stack, folder in cases}
    assert len(digests) == 4


def test_requirements_are_exact():
    for path in (ROOT / 'requirements').glob('*.txt'):
        for line in decisions.requirement_lines(path.stem):
            assert '==' in line, f'{path.name}: {line}'


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from the files that a checkout has, away from it."""
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in (
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'LICENSE',
        'model-index.yml',
        'mmdet_setdet',
        'configs',
        'requirements',
        'tools',
    ):
        subprocess.run(['cp', '-rL', str(ROOT / name), str(source)], check=True)
    done = subprocess.run(
        [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', str(out)],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob('mmdet_setdet-*-py3-none-any.whl')
    return path


def test_wheel_carries_configs_tools_and_model_index(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        name = path.relative_to(ROOT)
        is_carried = 'benchmarks' not in name.parts
        assert (f'mmdet_setdet/.mim/{name}' in names) == is_carried, name
    assert 'mmdet_setdet/.mim/model-index.yml' in names
    assert 'mmdet_setdet/compat.py' in names
    assert not [name for name in names if name.startswith(('tests/', 'configs/', 'tools/'))]


def test_wheel_names_both_stacks_and_leaves_torch_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('METADATA'))
        metadata = email.message_from_bytes(archive.read(name))
    needs = metadata.get_all('Requires-Dist')
    for extra, stack in (
        ('fork', 'default'),
        ('upstream', 'upstream'),
        ('seg', 'default-seg'),
        ('seg-upstream', 'upstream-seg'),
    ):
        for pin in decisions.requirement_lines(stack):
            assert any(
                pin in need and f'extra == "{extra}"' in need.replace("'", '"') for need in needs
            )
    plain = [need for need in needs if 'extra' not in need]
    assert plain
    assert not [need for need in plain if need.startswith(('torch', 'mm', 'onedl', 'opencv'))]


def test_config_resolves_by_name_from_an_unpacked_wheel(wheel, tmp_path):
    """In a folder of its own, by a Python that sees the wheel's package and not the checkout's."""
    site = tmp_path / 'site'
    zipfile.ZipFile(wheel).extractall(site)
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmdet_setdet::dn_detr_r50_50e.py'\nmodel = dict(num_queries=7)\n"
    )
    code = (
        f'import sys; sys.path.insert(0, {str(site)!r}); import mmdet_setdet; from mmengine import Config; '
        'assert mmdet_setdet.__file__.startswith(sys.path[0]); model = Config.fromfile("mine.py").model; '
        'print(model.type, model.num_queries)'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith('mmdet_setdet.DABDETR 7')


def test_model_resolves_by_name_from_an_unpacked_wheel(wheel, tmp_path):
    """``DetInferencer`` in an empty folder: the model index, the metafile and the config all come from the wheel."""
    site, empty = tmp_path / 'site', tmp_path / 'empty'
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    code = (
        f'import sys; sys.path.insert(0, {str(site)!r}); import mmdet_setdet\n'
        'from mmdet.apis import DetInferencer; assert mmdet_setdet.__file__.startswith(sys.path[0])\n'
        'try: DetInferencer("dn_detr_r50_50e", scope="mmdet_setdet", device="cpu")\n'
        'except mmdet_setdet.errors.InputError as error: print(error)\n'
        'model = DetInferencer("dn_detr_r50_50e", "mine.pth", "cpu", "mmdet_setdet").model; '
        'print(type(model).__module__, model.bbox_head.fc_cls.bias[7].item(), model.dataset_meta["classes"])'
    )
    torch.save(
        dict(
            meta=dict(dataset_meta=dict(classes=('mine',))),
            state_dict={'bbox_head.fc_cls.bias': torch.arange(80.0)},
        ),
        empty / 'mine.pth',
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=empty, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(
        'download the file, then tools/convert_checkpoint.py FILE CONVERTED --from dn-detr' in x
        for x in lines
    )
    assert lines[-1] == "mmdet_setdet.models.detectors.dab_detr 7.0 ('mine',)"


def test_benchmark_of_a_wheel_says_where_it_works(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = tmp_path / 'mmdet_setdet/.mim/tools/benchmark.py'
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', script, 'matching'],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    message = 'error: the benchmark is not part of an installed mmdet_setdet: clone the repository'
    assert done.stderr.splitlines()[-1].startswith(message)


def test_unknown_config_name_is_named(tmp_path):
    from mmengine import Config

    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet_setdet::no_such.py'\n")
    with pytest.raises(InputError, match=r'mine\.py: mmdet_setdet has no config no_such\.py'):
        Config.fromfile(str(tmp_path / 'mine.py'))
