"""Command lines with wrong paths, flags and values."""

import pytest
from helpers.fuzz import judge
from helpers.tiny_detector import tool, write_annotations

CONFIGS = {
    'missing': None,
    'folder': None,
    'empty': '',
    'no_python': 'model = dict(',
    'name_error': 'model = nothing',
    'no_model': 'x = 3',
    'model_of_another_kind': 'model = 3',
    'base_missing': "_base_ = 'nowhere.py'",
    'base_of_another_kind': '_base_ = 3',
    'base_of_nothing': "_base_ = 'mmdet::nowhere.py'",
    'base_of_no_package': "_base_ = 'nothing::nowhere.py'",
    'bytes': '\0\1\2',
    'import_error': "custom_imports = dict(imports=['nothing_at_all'])",
}


@pytest.mark.parametrize('name', ['train', 'test'])
@pytest.mark.parametrize('config', CONFIGS)
def test_configs(tools, expect_good, tmp_path, name, config):
    path = tmp_path / 'config.py'
    if config == 'folder':
        path.mkdir()
    elif config != 'missing':
        path.write_text(CONFIGS[config])
    checkpoint = ['x.pth'] if name == 'test' else []
    assert expect_good(tools.run(name, str(path), *checkpoint)).kind == 'refused'


@pytest.mark.parametrize('suffix', ['.json', '.yaml', '.txt', '', '.pth'])
def test_configs_of_other_formats(tools, expect_good, tmp_path, suffix):
    path = tmp_path / f'config{suffix}'
    path.write_text('[1, 2')
    assert expect_good(tools.run('train', str(path))).kind == 'refused'


@pytest.mark.parametrize(
    'argv',
    [
        'train',
        'train --help-me',
        'train {config} --no-such-flag',
        'train {config} --launcher nothing',
        'train {config} --launcher pytorch',
        'train {config} --launcher slurm',
        'train {config} --launcher mpi',
        'train {config} --local_rank x',
        'train {config} --work-dir',
        'train {config} --work-dir {config}',
        'train {config} --work-dir /proc/nothing',
        'train {config} --resume nothing.pth',
        'train {config} --resume {config}',
        'train {config} --cfg-options',
        'train {config} --cfg-options model',
        'train {config} {config}',
        'train {config} --amp float16',
        'train {config} --auto-scale-lr',
        'train nothing.py',
        'train mmdet::nothing.py',
        'train nothing::nothing.py',
        'train mmdet_setdet::nothing.py',
        'test',
        'test {config}',
        'test {config} nothing.pth',
        'test {config} {config}',
        'test {config} /',
        'test {config} http://localhost:9/x.pth',
        'test {config} ftp://x/x.pth',
        'test {config} nothing://x.pth',
        'test {config} torchvision://resnet50',
        'test {config} detr+nothing.pth',
        'test {config} x.pth --eval',
        'test {config} x.pth --eval bbx',
        'test {config} x.pth --eval segm',
        'test {config} x.pth --out',
        'test {config} x.pth --out x.json',
        'test {config} x.pth --out /proc/nothing/x.pkl',
        'test {config} x.pth --tta',
        'test {config} x.pth --show-dir',
        'test {config} x.pth --launcher pytorch',
        'convert_checkpoint',
        'convert_checkpoint nothing.pth',
        'convert_checkpoint nothing.pth x.pth',
        'convert_checkpoint / x.pth',
        'convert_checkpoint {config} x.pth',
        'convert_checkpoint nothing.pth x.pth --from nothing',
        'convert_checkpoint nothing.safetensors x.pth',
        'convert_checkpoint http://localhost:9/x.pth x.pth',
        'benchmark',
        'benchmark nothing',
        'benchmark matching --repeats 0',
        'benchmark matching --repeats x',
        'benchmark matching --threads -1',
        'benchmark matching --threads x',
        'benchmark matching --device cuda',
        'benchmark matching --device tpu',
        'benchmark matching --dtype int8',
        'benchmark inference --size 3',
        'benchmark inference --size 0x0',
        'benchmark inference --size axb',
        'benchmark inference --size -4x4',
        'benchmark inference --batch-size 0',
        'benchmark matching --plot x.png',
        'benchmark matching --json /proc/nothing/x.json',
        'analysis_tools/plot_curves',
        'analysis_tools/plot_curves x',
        'analysis_tools/plot_curves x=',
        'analysis_tools/plot_curves x=nothing',
        'analysis_tools/plot_curves x={config}',
        'analysis_tools/visualize_assignment',
        'analysis_tools/visualize_assignment nothing.py',
        'analysis_tools/visualize_assignment {config} --split all',
        'analysis_tools/visualize_assignment {config} --image nothing.jpg',
        'analysis_tools/visualize_assignment {config} --checkpoint nothing.pth',
        'analysis_tools/transport_quality --images x',
        'analysis_tools/transport_quality --images 0',
        'analysis_tools/transport_quality --images -1',
        'analysis_tools/transport_quality --images 1 --objects -1',
        'analysis_tools/transport_quality --images 1 --size 0 0',
        'analysis_tools/transport_quality --images 1 --eps -1',
        'analysis_tools/transport_quality --images 1 --iterations -1',
        'quickstart/quickstart --config nothing.py',
        'quickstart/quickstart --seed x',
        'quickstart/quickstart --num-pictures x',
        'quickstart/quickstart --num-pictures -1',
        'quickstart/write_miniature',
        'quickstart/write_miniature nothing x',
    ],
)
def test_wrong_arguments(tools, tiny_data, expect_good, tmp_path, monkeypatch, argv):
    config, root, coco = tiny_data
    write_annotations(root, coco)
    monkeypatch.chdir(tmp_path)
    name, *rest = argv.format(config=config).split()
    assert expect_good(judge(tool(name).main, rest)).kind == 'refused'
