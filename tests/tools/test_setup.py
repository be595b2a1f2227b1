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
from helpers.fresh import run_fresh
from helpers.tiny_detector import tool

from mmdet_setdet.engine.devices import MIN_DRIVERS
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
    attempts = decisions.torch_attempts('torch==2.13.0', decisions.CPU)
    first, second, last = (args for _, args in attempts)
    assert first == ['torch==2.13.0+cpu']  # what pip is configured to find, no index named
    assert second[0] == 'torch==2.13.0+cpu'
    assert f'{decisions.PYTORCH_INDEX}/cpu' in second
    assert last == ['torch==2.13.0']
    assert 'CUDA' in attempts[-1][0]


def test_torch_with_gpu_is_never_a_cpu_build_by_choice():
    newest, older = decisions.BUILDS
    attempts = [args for _, args in decisions.torch_attempts('torch==2.13.0', newest)]
    assert attempts == [['torch===2.13.0'], ['torch==2.13.0']]
    first, second = (args for _, args in decisions.torch_attempts('torch==2.13.0', older))
    assert first == ['torch==2.13.0+cu126']
    assert second[0] == 'torch==2.13.0+cu126'
    assert f'{decisions.PYTORCH_INDEX}/cu126' in second


@pytest.mark.parametrize(
    ('cards', 'driver', 'cuda', 'note'),
    [
        ('', '', '', ''),  # no GPU
        ('', '535.129.03', '', ''),
        ('8.0', '580.65.06', '13.0', ''),
        ('7.5 8.6 12.0', '580.65.06', '13.0', ''),
        ('12.1', '590.1', '13.0', ''),
        ('9.0', '', '13.0', ''),  # a login node: the driver is not known
        ('unknown', '580.65.06', '13.0', ''),
        ('8.0', '570.86.15', '12.6', 'the driver is 570.86.15: an older build of torch is taken'),
        ('8.9', '550.54.15', '12.6', 'CUDA 13.0 needs driver 580 or newer'),
        ('9.0', '535.129.03', '12.6', 'an older build'),
        ('8.0', '535', '12.6', 'an older build'),
        ('6.0', '580.65.06', '12.6', 'compute capability 6.0'),
        ('7.0', '', '12.6', 'cards of 7.5 or newer'),
        ('7.0 8.0', '580.65.06', '12.6', 'an older build'),
        ('6.1 12.0', '580.65.06', '13.0', 'CUDA 13.0 cannot use the cards of 6.1'),
        ('7.0 12.0', '570.86.15', '12.6', 'CUDA 12.6 cannot use the cards of 12.0'),
        ('12.0', '570.86.15', None, 'no build of torch runs here'),
        ('8.0', '470.256.02', None, 'the driver is 470.256.02'),
        ('3.5', '470.256.02', None, 'CUDA 12.6 needs driver 525 or newer and cards of 5.0 to 9.0'),
        ('unknown', '390.157', None, 'no build of torch runs here'),
    ],
)
def test_choose_build(cards, driver, cuda, note):
    build, said = decisions.choose_build(cards.split(), driver)
    assert (build and build.cuda) == cuda
    assert note in said
    assert bool(said) == bool(note)


def test_drivers_are_those_that_a_run_asks_for():
    for build in decisions.BUILDS:
        assert MIN_DRIVERS[decisions.major(build.cuda)] == build.driver


@pytest.mark.parametrize(
    ('installed', 'build', 'serves'),
    [
        ('', decisions.CPU, False),
        ('2.13.0+cpu', decisions.CPU, True),
        ('2.13.0', decisions.CPU, True),  # large, but it computes on a CPU as well
        ('2.12.0+cpu', decisions.CPU, False),
        ('2.13.0+cpu', decisions.BUILDS[0], False),
        ('2.13.0', decisions.BUILDS[0], True),
        ('2.13.0+cu130', decisions.BUILDS[0], True),
        ('2.13.0', decisions.BUILDS[1], False),
        ('2.13.0+cu126', decisions.BUILDS[1], True),
        ('2.13.0+cu126', decisions.BUILDS[0], False),
    ],
)
def test_installed_torch_is_kept_if_it_serves(installed, build, serves):
    assert decisions.is_build(installed, 'torch==2.13.0', build) == serves


@pytest.mark.parametrize(
    ('nvcc', 'torch_cuda', 'from_packages'),
    [
        ('', '13.0', True),
        ('12.4', '13.0', True),
        ('13.1', '13.0', False),
        ('', '12.6', False),  # the packages of CUDA 12 have no nvcc
        ('13.0', '12.6', False),
        ('12.0', '12.6', False),
    ],
)
def test_nvcc_from_packages(nvcc, torch_cuda, from_packages):
    assert decisions.nvcc_from_packages(nvcc, torch_cuda) == from_packages


@pytest.mark.parametrize(
    ('cards', 'nvcc', 'torch_cuda', 'ops', 'loses'),
    [
        ('', '13.0', '', 'cpu', ''),  # a compiler alone is no reason
        ('', '13.0', '13.0', 'cpu', ''),
        ('9.0', '13.0', '13.0', 'cu130-sm90', ''),
        ('9.0', '13.1', '13.0', 'cu131-sm90', ''),
        ('8.0 9.0 12.0', '13.0', '13.0', 'cu130-sm80-sm90-sm120', ''),
        ('unknown', '13.0', '13.0', 'cu130-smunknown', ''),
        ('9.0', '', '13.0', 'cpu', 'RetinaNet'),
        ('9.0', '12.4', '13.0', 'cpu', 'nvcc is of CUDA 12.4'),
        ('7.0', '12.4', '12.6', 'cu124-sm70', ''),
        ('7.0', '', '12.6', 'cpu', 'install the CUDA 12.6 toolkit'),
    ],
)
def test_choose_ops(cards, nvcc, torch_cuda, ops, loses):
    chosen, lost = decisions.choose_ops(cards.split(), nvcc, torch_cuda)
    assert chosen == ops
    assert loses in lost
    assert bool(lost) == bool(loses)


@pytest.mark.parametrize(
    ('cards', 'archs'), [('8.0', '8.0'), ('8.0 12.0', '8.0;12.0'), ('unknown 8.0', '')]
)
def test_arch_list(cards, archs):
    assert decisions.arch_list(cards.split()) == archs


def test_cards_as_a_user_writes_them():
    assert decisions.parse_cards('9.0,8.0 10.0  8.0') == ['8.0', '9.0', '10.0']
    for text in ('80', 'sm_80', '8.0+PTX', 'A100'):
        with pytest.raises(ValueError, match='is no compute capability'):
            decisions.parse_cards(text)


@pytest.mark.parametrize(
    ('text', 'cards', 'driver'),
    [
        ('8.0, 535.129.03\n8.0, 535.129.03\n', ['8.0'], '535.129.03'),
        ('12.0, 580.65.06\n9.0, 580.65.06', ['9.0', '12.0'], '580.65.06'),
        ('Tesla K80, 390.157', ['unknown'], '390.157'),
        ('[N/A], 580.65.06', ['unknown'], '580.65.06'),
        ('', [], ''),
    ],
)
def test_parse_nvidia_smi(text, cards, driver):
    assert decisions.parse_nvidia_smi(text) == (cards, driver)


@pytest.mark.parametrize(
    ('entries', 'error', 'has_slurm', 'words'),
    [
        (0, '', False, ''),
        (8, '', False, 'the driver has 8 NVIDIA GPUs, but none can be used here'),
        (0, 'NVIDIA-SMI has failed', False, 'says "NVIDIA-SMI has failed"'),
        (0, '', True, 'the login node of a cluster'),
    ],
)
def test_a_cpu_build_is_explained_where_gpus_may_be(entries, error, has_slurm, words):
    note = decisions.note_on_cpu(entries, error, has_slurm)
    assert words in note
    assert ('make env GPU=8.0' in note) == bool(words)


@pytest.fixture
def machine(monkeypatch):
    """The module tools/setup/machine.py."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools/setup'))
    return tool('setup/machine')


@pytest.mark.parametrize(
    ('answer', 'gpus'),
    [
        ('exit 9', ([], '')),
        (
            'case "$1" in -L) echo "GPU 0: A";; *compute_cap*) printf "9.0, 580.1\\n8.0, 580.1\\n";; esac',
            (['8.0', '9.0'], '580.1'),
        ),
        (  # too old to know the field
            'case "$1" in -L) echo "GPU 0: K";; *compute_cap*) exit 2;; *) echo "Tesla K80, 390.157";; esac',
            (['unknown'], '390.157'),
        ),
    ],
)
def test_find_gpus(machine, tmp_path, monkeypatch, answer, gpus):
    program = tmp_path / 'nvidia-smi'
    program.write_text(f'#!/bin/sh\n{answer}\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    assert machine.find_gpus() == gpus


def test_toolkit_of_python_packages(machine, tmp_path):
    """It has the folders that nvcc looks for, and the names that the linker asks for."""
    packages, home = tmp_path / 'nvidia/cu13', tmp_path / 'cuda'
    for name in ('bin/nvcc', 'include/cuda.h', 'nvvm/bin/cicc', 'lib/libcudart.so.13'):
        path = packages / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (packages / 'bin/nvcc').write_text(
        '#!/bin/sh\necho "Cuda compilation tools, release 13.0, V13"\n'
    )
    (packages / 'bin/nvcc').chmod(0o755)
    for _ in range(2):  # again over what is there
        machine.make_toolkit(packages, home)
    assert machine.find_nvcc(str(home)) == '13.0'
    assert (home / 'nvvm/bin/cicc').is_file()
    libraries = home / 'lib64'
    assert sorted(path.name for path in libraries.iterdir()) == ['libcudart.so', 'libcudart.so.13']
    assert (libraries / 'libcudart.so').read_text() == 'lib/libcudart.so.13'


def test_wheel_key_tells_all_that_a_binary_depends_on():
    key = ('2.13.0+cpu', 'cp311', 'cpu', 'linux_x86_64')
    keys = {decisions.wheel_key(*key)}
    for index, other in enumerate(('2.14.0+cpu', 'cp312', 'cu130-sm90', 'linux_aarch64')):
        keys.add(decisions.wheel_key(*key[:index], other, *key[index + 1 :]))
    assert len(keys) == 5


def test_digest_tells_environments_apart(tmp_path):
    cases = itertools.product(decisions.STACKS, (tmp_path, tmp_path / 'x'))
    digests = {decisions.environment_digest(stack, folder) for stack, folder in cases}
    digests.add(decisions.environment_digest('default', tmp_path, gpu='8.0'))
    assert len(digests) == 5


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
        'README.md',
        'LICENSE',
        'NOTICE',
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
        is_carried = not {'benchmarks', 'release', 'setup'} & set(name.parts)
        assert (f'mmdet_setdet/.mim/{name}' in names) == is_carried, name
    assert 'mmdet_setdet/.mim/model-index.yml' in names
    assert 'mmdet_setdet/compat.py' in names
    assert 'mmdet_setdet/py.typed' in names
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
    assert plain == ['numpy', 'packaging']


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
    done = run_fresh('-c', code, cwd=tmp_path)
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
    done = run_fresh('-c', code, cwd=empty)
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
    done = run_fresh(script, 'matching', cwd=tmp_path, env=environment)
    assert done.returncode == 1
    message = 'error: the benchmark is not part of an installed mmdet_setdet: clone the repository'
    assert done.stderr.splitlines()[-1].startswith(message)


def test_unknown_config_name_is_named(tmp_path):
    from mmengine import Config

    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet_setdet::no_such.py'\n")
    with pytest.raises(InputError, match=r'mine\.py: mmdet_setdet has no config no_such\.py'):
        Config.fromfile(str(tmp_path / 'mine.py'))
