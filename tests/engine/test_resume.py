"""--resume: after a kill the run ends where an uninterrupted one does."""

import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.processes import Forked
from helpers.tiny_detector import new_name, tool, write_config, write_dataset
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdet_setdet.engine import find_checkpoint

pytestmark = [pytest.mark.forks, pytest.mark.usefixtures('one_thread')]


class StoppedError(Exception):
    pass


@HOOKS.register_module()
class StopHook(Hook):
    """Stops training, as abruptly as a test can, after ``stop_iter`` iterations."""

    priority = 'LOWEST'

    def __init__(self, stop_iter: int) -> None:
        self.stop_iter = stop_iter

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter + 1 == self.stop_iter:
            raise StoppedError


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Writes down (epoch, batch, iteration, learning rate, image ids) of every step."""

    steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.steps.append(
            (
                runner.epoch,
                batch_idx,
                runner.iter,
                round(runner.optim_wrapper.get_lr()['lr'][0], 7),
                [sample.img_id for sample in data_batch['data_samples']],
            )
        )


@HOOKS.register_module()
class KillHook(Hook):
    """Kills its process after five iterations."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 4:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Three epochs of three batches, the order shuffled anew in each, a checkpoint every two iterations."""
    folder = tmp_path_factory.mktemp('resume')
    write_dataset(folder / 'data')
    path = Path(write_config(folder, folder / 'data'))
    with path.open('a') as file:
        file.write(
            'train_cfg.update(max_epochs=3)\n'
            "default_hooks['checkpoint'] = dict(type='CheckpointHook', by_epoch=False, interval=2)\n"
        )
    return str(path)


def train(config, work_dir, *arguments, stop_iter=0, options=()):
    """Runs the tool; returns the steps it made."""
    ScheduleHook.steps = []
    path = Path(config).with_name('with_hooks.py')
    path.write_text(
        "_base_ = './tiny.py'\ncustom_hooks = [dict(type='ScheduleHook'), dict(type='StopHook', "
        f'stop_iter={stop_iter})]\n'
    )
    tool('train').main(
        [
            str(path),
            '--work-dir',
            str(work_dir),
            *arguments,
            '--cfg-options',
            f'experiment_name={new_name()}',
            *options,
        ]
    )
    return ScheduleHook.steps


@pytest.fixture(scope='module')
def uninterrupted(config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('uninterrupted')
    return train(config, work_dir), torch.load(work_dir / 'iter_8.pth', weights_only=False)


def assert_same_end(work_dir, uninterrupted):
    end = torch.load(work_dir / 'iter_8.pth', weights_only=False)
    assert end['meta']['iter'] == 8
    assert end['meta']['epoch'] == 2
    for key, value in uninterrupted[1]['state_dict'].items():
        assert torch.equal(end['state_dict'][key], value), key


@pytest.mark.parametrize('stop_iter', [5, 6, 7])
def test_stopped_in_mid_epoch(config, uninterrupted, tmp_path, stop_iter):
    with pytest.raises(StoppedError):
        train(config, tmp_path, stop_iter=stop_iter)
    steps = train(config, tmp_path, '--resume')
    # The steps after the last checkpoint, to the end: same batches, same rates, same weights.
    assert steps == uninterrupted[0][4 if stop_iter == 5 else 6 :]
    assert_same_end(tmp_path, uninterrupted)


def test_checkpoint_of_one_optimizer_group_per_parameter(config, tmp_path):
    """As mmengine's runner writes them, and this package before its groups were joined."""
    options = [
        'optim_wrapper.paramwise_cfg.norm_decay_mult=0.0',
        'optim_wrapper.optimizer.weight_decay=0.1',
    ]
    one_each = [*options, 'optim_wrapper.constructor=DefaultOptimWrapperConstructor']
    with pytest.raises(StoppedError):
        train(config, tmp_path / 'old', stop_iter=5, options=one_each)
    saved = torch.load(tmp_path / 'old/iter_4.pth', weights_only=False)['optimizer']
    assert len(saved['param_groups']) > 40
    resumed = train(config, tmp_path / 'old', '--resume', options=options)
    whole = train(config, tmp_path / 'new', options=options)
    assert resumed == whole[4:]
    end = torch.load(tmp_path / 'new/iter_8.pth', weights_only=False)
    assert len(end['optimizer']['param_groups']) == 2
    assert_same_end(tmp_path / 'old', (whole, end))


def test_order_of_images_without_a_seed_in_the_config(config, tmp_path):
    """Each run draws its seed; the one that resumes takes that of the checkpoint."""
    options = ['randomness.seed=None', 'randomness.diff_rank_seed=True']
    with pytest.raises(StoppedError):
        train(config, tmp_path, stop_iter=7, options=options)
    before = ScheduleHook.steps
    (tmp_path / 'iter_6.pth').unlink()
    after = train(config, tmp_path, '--resume', options=options)
    assert after[:3] == before[4:]


def test_checkpoint_that_was_being_written(config, uninterrupted, tmp_path):
    with pytest.raises(StoppedError):
        train(config, tmp_path, stop_iter=7)
    newest = tmp_path / 'iter_6.pth'
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    steps = train(config, tmp_path, '--resume')
    logs = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert (
        'iter_6.pth: incomplete, as after a kill while it was being written; looking for the one before'
        in logs
    )
    assert steps == uninterrupted[0][4:]
    assert_same_end(tmp_path, uninterrupted)


def test_other_epoch_length_starts_the_epoch_anew(config, tmp_path):
    with pytest.raises(StoppedError):
        train(config, tmp_path, stop_iter=5)
    # One image a batch: five batches an epoch instead of three, of which iteration 4 lies before the second.
    steps = train(config, tmp_path, '--resume', options=['train_dataloader.batch_size=1'])
    assert [step[:2] for step in steps] == [
        (epoch, batch) for epoch in (1, 2) for batch in range(5)
    ]


def test_nothing_to_resume_from_starts_at_the_beginning(config, uninterrupted, tmp_path):
    assert train(config, tmp_path, '--resume') == uninterrupted[0]


def test_newest_complete_checkpoint(tmp_path):
    assert find_checkpoint(str(tmp_path)) is None
    for i, name in enumerate(('epoch_1.pth', 'epoch_2.pth', 'best_epoch_1.pth')):
        torch.save({}, tmp_path / name)
        os.utime(tmp_path / name, (i, i))
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')
    (tmp_path / 'epoch_2.pth').write_bytes(b'PK half')
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')
    # A name that only last_checkpoint knows.
    (tmp_path / 'epoch_1.pth').unlink()
    (tmp_path / 'last_checkpoint').write_text('/moved/from/here/best_epoch_1.pth')
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'best_epoch_1.pth')


def test_killed_process(config, uninterrupted, tmp_path):
    """The real thing: SIGKILL, which no handler sees."""
    path = tmp_path / 'killed.py'
    path.write_text(f"_base_ = '{config}'\ncustom_hooks = [dict(type='KillHook')]\n")
    work_dir = str(tmp_path / 'work')
    training = Forked(
        lambda: tool('train').main([str(path), '--work-dir', work_dir]), tmp_path / 'out.txt'
    )
    assert training.wait() == -signal.SIGKILL
    steps = train(config, tmp_path / 'work', '--resume')
    assert [step[2] for step in steps] == [4, 5, 6, 7, 8]
    assert_same_end(tmp_path / 'work', uninterrupted)
