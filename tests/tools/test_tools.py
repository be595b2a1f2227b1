"""tools/train.py, tools/test.py and the shell scripts, used as a user would."""

import os
import pickle
import shutil
import subprocess

import pytest
from helpers.configs import REPOSITORY
from helpers.fresh import run_fresh
from helpers.tiny_detector import new_name, tool, write_config, write_dataset
from mmengine.config import ConfigDict

from mmdet_setdet.engine.command_line import load_config, run
from mmdet_setdet.engine.evaluation import select_metrics
from mmdet_setdet.errors import InputError

TOOLS = REPOSITORY / 'tools'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """(config, its checkpoint after two epochs)."""
    folder = tmp_path_factory.mktemp('tools')
    write_dataset(folder / 'data')
    config = write_config(folder, folder / 'data')
    tool('train').main(
        [
            config,
            '--work-dir',
            str(folder / 'work'),
            '--auto-scale-lr',
            '--cfg-options',
            'auto_scale_lr.base_batch_size=4',
            f'experiment_name={new_name()}',
        ]
    )
    return config, str(folder / 'work' / 'epoch_2.pth')


def test_eval_out_and_pictures(trained, tmp_path, capfd):
    metrics = tool('test').main(
        [
            *trained,
            '--eval',
            'bbox',
            '--out',
            str(tmp_path / 'out.pkl'),
            '--show-dir',
            str(tmp_path / 'pictures'),
            '--report',
            str(tmp_path / 'report'),
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            f'experiment_name={new_name()}',
        ]
    )
    assert 0 <= metrics['coco/bbox_mAP'] <= metrics['coco/bbox_mAP_50'] <= 1
    table = [line for line in capfd.readouterr().out.splitlines() if line.startswith(' Average ')]
    assert len(table) == 12
    assert len(list((tmp_path / 'report').iterdir())) == 3
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert len(predictions) == 5
    assert predictions[0]['pred_instances']['bboxes'].shape[1] == 4
    assert sorted(path.name for path in (tmp_path / 'pictures').iterdir()) == [
        f'{i}.jpg' for i in range(1, 6)
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--eval', 'segm'],
            r'--eval segm: .*tiny.py evaluates with CocoMetric and predicts no masks, which can do: bbox',
        ),
        (
            ['--eval', 'bbox', 'mIoU'],
            r'--eval mIoU: .*tiny.py evaluates with CocoMetric, which can do: bbox',
        ),
        (
            ['--report', 'report', '--cfg-options', 'test_evaluator.type=DumpDetResults'],
            r'--report report: needs CocoMetric, but .*tiny.py evaluates with DumpDetResults',
        ),
        (['--tta'], r'--tta: .*tiny.py has no tta_model and no tta_pipeline'),
        (
            ['--out', 'out.json'],
            r'--out out.json: predictions are pickled; give a name that ends in .pkl',
        ),
    ],
)
def test_what_a_config_cannot_do(trained, arguments, message):
    with pytest.raises(InputError, match=message):
        tool('test').main([*trained, *arguments])


def test_metrics_are_chosen_by_name():
    masks = dict(roi_head=dict(mask_head=dict(type='FCNMaskHead')))
    coco = dict(type='CocoMetric', ann_file='a.json', metric='bbox')
    both = [coco, dict(type='mmseg.IoUMetric', iou_metrics=['mDice'])]
    assert select_metrics(coco, ['bbox', 'segm'], masks, '')[0]['metric'] == ['bbox', 'segm']
    assert select_metrics(both, ['mIoU'], masks, '') == [
        dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    ]
    assert (
        select_metrics(ConfigDict(type='Evaluator', metrics=both), ['segm'], masks, '')[0][
            'ann_file'
        ]
        == 'a.json'
    )
    assert select_metrics(dict(type='Accuracy', topk=(1, 5)), ['accuracy'], {}, '')[0]['topk'] == (
        1,
        5,
    )
    assert coco['metric'] == 'bbox'


def test_train_arguments_that_cannot_be_met(trained):
    config = trained[0]
    with pytest.raises(InputError, match='--auto-scale-lr: .*does not say for which batch size'):
        tool('train').main([config, '--auto-scale-lr'])
    with pytest.raises(InputError, match='no/such/config.py: no such config file'):
        tool('train').main(['no/such/config.py'])
    with pytest.raises(InputError, match='--launcher pytorch: this process was not started by it'):
        tool('train').main([config, '--launcher', 'pytorch'])


def test_program_ends_with_one_line(trained):
    result = run_fresh(
        TOOLS / 'train.py',
        trained[0],
        '--cfg-options',
        'modle.backbone.depth=50',
        env={**os.environ, 'PYTHONPATH': str(TOOLS.parent)},
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        'error: --cfg-options modle.backbone.depth: the config takes no'
    )
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('argument', 'message'),
    [
        ('work_dirs', "error: 'work_dirs' is not of the form NAME=WORK_DIR"),
        (
            'run=no/such/folder',
            'error: no/such/folder: no vis_data/scalars.json with content below it. Name the work_dir',
        ),
    ],
)
def test_plotting_tool_ends_with_one_line(argument, message, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(
            tool('analysis_tools/plot_curves').main,
            [argument, '--out', str(tmp_path / 'curves.png')],
        )
    assert str(ended.value).startswith(message)


def test_a_config_is_loaded_with_its_options(tmp_path):
    config = write_config(tmp_path, tmp_path / 'data')
    plain = load_config(config)
    assert plain.launcher == 'none'
    assert plain.work_dir == 'work_dirs/tiny'
    assert plain.model.backbone.depth == 18
    changed = load_config(
        config, {'model.backbone.depth': 50}, work_dir=str(tmp_path / 'elsewhere')
    )
    assert changed.work_dir == str(tmp_path / 'elsewhere')
    assert changed.model.backbone.depth == 50


@pytest.fixture
def scripts(tmp_path):
    """Runs a script from another folder, with a Python and an srun that only say what they were called with."""
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\necho "$@" ${MASTER_PORT:+port $MASTER_PORT}\n')
        (tmp_path / name).chmod(0o755)

    def run(script, *arguments, **variables):
        clean = {
            k: v
            for k, v in os.environ.items()
            if k not in ('VIRTUAL_ENV', 'CONDA_PREFIX', 'PYTHON')
        }
        return subprocess.run(
            [script, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', **variables},
        )

    return run


def test_dist_scripts(scripts, tmp_path):
    train = scripts(
        TOOLS / 'dist_train.sh',
        'c.py',
        '4',
        '--cfg-options',
        'a=[1, 2]',
        'b=3',
        PYTHON='python',
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='10.0.0.1',
        PORT='29511',
    )
    assert (
        train.stdout.split()
        == (
            '-m torch.distributed.run --nnodes=2 --node_rank=1 --master_addr=10.0.0.1 --master_port=29511 '
            f'--nproc_per_node=4 {TOOLS}/train.py c.py --cfg-options a=[1, 2] b=3 --launcher pytorch'
        ).split()
    )
    test = scripts(TOOLS / 'dist_test.sh', 'c.py', 'x.pth', '2', '--eval', 'bbox', PYTHON='python')
    assert (
        test.stdout.split()
        == (
            '-m torch.distributed.run --nnodes=1 --node_rank=0 --master_addr=127.0.0.1 --master_port=29500 '
            f'--nproc_per_node=2 {TOOLS}/test.py c.py x.pth --eval bbox --launcher pytorch'
        ).split()
    )
    usage = scripts(TOOLS / 'dist_train.sh', 'c.py')
    assert usage.returncode == 2
    assert 'dist_train.sh CONFIG GPUS' in usage.stderr


def test_scripts_find_the_environment_of_the_repository(scripts, tmp_path):
    tools = tmp_path / 'clone' / 'tools'
    tools.mkdir(parents=True)
    for name in ('dist_train.sh', 'launch.sh'):
        shutil.copy(TOOLS / name, tools)
    own = tmp_path / 'clone' / '.venv' / 'bin' / 'python'
    own.parent.mkdir(parents=True)
    own.write_text('#!/bin/sh\necho own\n')
    own.chmod(0o755)
    assert scripts(tools / 'dist_train.sh', 'c.py', '1').stdout == 'own\n'
    assert scripts(tools / 'dist_train.sh', 'c.py', '1', VIRTUAL_ENV='/active').stdout.startswith(
        '-m torch'
    )


def test_slurm_scripts(scripts):
    train = scripts(
        TOOLS / 'slurm_train.sh',
        'part',
        'job',
        'c.py',
        'work',
        '--amp',
        GPUS='16',
        PYTHON='python',
        SRUN_ARGS='--quotatype=auto --time=5',
    )
    assert (
        train.stdout.split()
        == (
            '-p part --job-name=job --ntasks=16 --gres=gpu:8 --ntasks-per-node=8 --cpus-per-task=5 '
            '--kill-on-bad-exit=1 --quotatype=auto --time=5 '
            f'python -u {TOOLS}/train.py c.py --work-dir=work --amp --launcher slurm'
        ).split()
    )
    test = scripts(
        TOOLS / 'slurm_test.sh',
        'part',
        'job',
        'c.py',
        'x.pth',
        GPUS='2',
        GPUS_PER_NODE='0',
        PORT='29511',
        PYTHON='python',
    )
    assert '--gres' not in test.stdout
    assert test.stdout.endswith('test.py c.py x.pth --launcher slurm port 29511\n')
    few = scripts(TOOLS / 'slurm_train.sh', 'part', 'job', 'c.py', 'work', GPUS='4')
    assert '--ntasks=4 --gres=gpu:4 --ntasks-per-node=4' in few.stdout
