"""How a run ends that fails, is stopped or is killed: at once, in all processes, with a whole checkpoint."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import Forked, fork_ranks
from helpers.tiny_detector import new_name, tool, write_config, write_dataset
from mmcv.transforms import LoadImageFromFile
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS

from mmdet_setdet.engine import find_checkpoint
from mmdet_setdet.engine.command_line import run
from mmdet_setdet.engine.stopping import StopOnSignalHook
from mmdet_setdet.errors import InputError

pytestmark = [pytest.mark.forks, pytest.mark.usefixtures('one_thread')]

HOOK = """
train_cfg.update(max_epochs=3)
custom_hooks = [dict(type='EventHook')]
default_hooks['checkpoint'] = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
"""
VALIDATION = """
train_cfg.update(val_interval=1)
val_cfg = dict(type='ValLoop')
val_dataloader = test_dataloader
val_evaluator = dict(type='RisingMetric')
default_hooks['checkpoint'].update(save_best='score', rule='greater')
"""
BY_ITERATIONS = """
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6)
default_hooks['checkpoint'].update(by_epoch=False, interval=3)
"""


@HOOKS.register_module()
class EventHook(Hook):
    """Notes each iteration, and then does ``events[rank, iteration]``."""

    priority = 'VERY_LOW'
    events = {}
    iterations = []

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        done = runner.iter + 1
        self.iterations.append(done)
        print(f'iteration {done}.', flush=True)
        event = self.events.get((runner.rank, done))
        if event:
            event()


@METRICS.register_module()
class RisingMetric(BaseMetric):
    """Better with each epoch."""

    score = 0

    def process(self, data_batch, data_samples) -> None:
        self.results.append(None)

    def compute_metrics(self, results) -> dict:
        RisingMetric.score += 1
        return dict(score=RisingMetric.score)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Three epochs of three batches; after each a checkpoint, of which the last is kept."""
    folder = tmp_path_factory.mktemp('ending')
    write_dataset(folder / 'data', 6)
    path = Path(write_config(folder, folder / 'data'))
    path.write_text(path.read_text() + HOOK)
    return str(path)


@pytest.fixture
def events(monkeypatch):
    """What is to happen: {(rank, iteration): function}."""
    events = {}
    monkeypatch.setattr(EventHook, 'events', events)
    return events


def arguments(config, work_dir, *words, options=()):
    name = f'experiment_name={new_name()}'
    return [config, '--work-dir', str(work_dir), *words, '--cfg-options', name, *options]


def train(config, work_dir, *words, options=()):
    """Train in this process; return the iterations it made."""
    EventHook.iterations = []
    run(tool('train').main, arguments(config, work_dir, *words, options=options))
    return EventHook.iterations


def trainer(config, work_dir, *words, options=()):
    """Return a function that trains, for a process of its own."""
    return lambda: train(config, work_dir, *words, options=options)


def fork_training(config, folder, *words):
    """Start the same training on two processes, half a batch each."""
    options = ['train_dataloader.batch_size=1']
    training = trainer(config, folder / 'work', '--launcher', 'pytorch', *words, options=options)
    return fork_ranks(training, folder)


def printed_iterations(process):
    lines = process.text().splitlines()
    return [int(line.split()[1][:-1]) for line in lines if line.startswith('iteration ')]


def send(number):
    """Return a function that sends a signal to the process which calls it."""
    return lambda: os.kill(os.getpid(), number)


def saved(path):
    return torch.load(path, weights_only=False)


def log(work_dir):
    return ''.join(path.read_text() for path in work_dir.rglob('*.log'))


@pytest.fixture(scope='module')
def uninterrupted(config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('uninterrupted')
    assert train(config, work_dir) == list(range(1, 10))
    return saved(work_dir / 'epoch_3.pth')['state_dict']


def assert_same_end(work_dir, uninterrupted):
    end = saved(work_dir / 'epoch_3.pth')
    assert end['meta']['iter'] == 9
    for name, weight in uninterrupted.items():
        assert torch.equal(end['state_dict'][name], weight), name


# One process fails


def fail():
    raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')


def refuse():
    raise InputError('7.jpg: cut short')


@pytest.mark.parametrize(
    ('failure', 'message'),
    [(fail, 'RuntimeError: CUDA out of memory.'), (refuse, 'error: 7.jpg: cut short')],
)
def test_error_in_one_rank_ends_all(config, events, tmp_path, failure, message):
    events[1, 2] = failure
    first, second = fork_training(config, tmp_path)
    assert second.wait() == 1
    start = time.monotonic()
    assert first.wait() == 1
    assert time.monotonic() - start < 10
    assert second.text().splitlines()[-1].startswith(f'rank 1 of 2: {message}')
    assert ('Traceback' in second.text()) == (failure is fail)
    assert 'rank 0 of 2: error: rank 1 is gone' in first.text()
    assert 'Traceback' not in first.text()


def test_killed_rank_ends_one_that_waits_for_ever(config, events, tmp_path):
    """As with NCCL, whose waits do not notice that the other process is gone."""
    events[0, 2] = lambda: time.sleep(3600)
    events[1, 2] = send(signal.SIGKILL)
    first, second = fork_training(config, tmp_path)
    assert second.wait() == -signal.SIGKILL
    assert first.wait() == 1
    assert first.text().splitlines()[-1].startswith('rank 0 of 2: error: rank 1 is gone')


# Checkpoints are whole or absent


def test_full_disk(config, events, tmp_path):
    """A limit on the size of files stands for it: the system refuses to write on in the same way."""
    events[0, 4] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    work_dir = tmp_path / 'work'
    process = Forked(trainer(config, work_dir), tmp_path / 'out.txt')
    assert process.wait() == 1
    last = process.text().splitlines()[-1]
    assert last.startswith(f'error: {work_dir}/epoch_2.pth: cannot be written (File too large; ')
    assert 'bytes are free there' in last
    assert 'Traceback' not in process.text()
    files = {path.name for path in work_dir.iterdir() if path.is_file()}
    assert files == {'tiny.py', 'epoch_1.pth', 'last_checkpoint'}
    assert find_checkpoint(str(work_dir)) == str(work_dir / 'epoch_1.pth')
    assert saved(work_dir / 'epoch_1.pth')['meta']['iter'] == 3


def test_kill_while_a_checkpoint_is_written(config, uninterrupted, tmp_path, monkeypatch):
    whole_put = LocalBackend.put

    def put(self, content, path):
        if EventHook.iterations[-1] < 6:
            whole_put(self, content, path)
            return
        Path(path).write_bytes(content[: len(content) // 2])
        print('half of it is written', flush=True)
        time.sleep(3600)

    work_dir = tmp_path / 'work'
    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, 'put', put)
        process = Forked(trainer(config, work_dir), tmp_path / 'out.txt')
    process.wait_for('half of it is written')
    process.kill()
    process.wait()
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_1.pth']
    assert train(config, work_dir, '--resume') == [4, 5, 6, 7, 8, 9]
    assert_same_end(work_dir, uninterrupted)
    assert not list(work_dir.glob('unfinished*'))


def test_old_checkpoints_go_after_new_ones_are_written(config, tmp_path, monkeypatch):
    path = tmp_path / 'with_validation.py'
    path.write_text(f'{Path(config).read_text()}{VALIDATION}')
    beside = []
    whole_put = LocalBackend.put

    def put(self, content, path):
        beside.append(sorted(file.name for file in Path(path).parent.glob('*.pth')))
        whole_put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', put)
    work_dir = tmp_path / 'work'
    train(str(path), work_dir)
    # After each epoch: its checkpoint, the best, and again its checkpoint, which names the best.
    assert beside[3:6] == [
        ['best_score_epoch_1.pth', 'epoch_1.pth'],
        ['best_score_epoch_1.pth', 'epoch_2.pth'],
        ['best_score_epoch_1.pth', 'best_score_epoch_2.pth', 'epoch_2.pth'],
    ]
    left = sorted(file.name for file in work_dir.glob('*.pth'))
    assert left == ['best_score_epoch_3.pth', 'epoch_3.pth']
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_3.pth')


def test_weights_that_are_not_finite_replace_no_checkpoint(config, tmp_path, monkeypatch):
    step = torch.optim.SGD.step

    def diverge(self, *args, **kwargs):
        step(self, *args, **kwargs)
        if len(EventHook.iterations) == 4:
            with torch.no_grad():
                self.param_groups[0]['params'][0].fill_(torch.nan)

    monkeypatch.setattr(EventHook, 'iterations', [])
    monkeypatch.setattr(torch.optim.SGD, 'step', diverge)
    with pytest.raises(InputError, match=r'conv1.weight is not finite: .*epoch_1.pth, after iter'):
        tool('train').main(arguments(config, tmp_path))
    assert saved(tmp_path / 'epoch_1.pth')['meta']['iter'] == 3
    assert not (tmp_path / 'epoch_2.pth').exists()


@pytest.mark.parametrize('jump', [-3600, 3600])
def test_clock_that_jumps(tmp_path, jump):
    now = time.time()
    for epoch in (1, 2):
        path = tmp_path / f'epoch_{epoch}.pth'
        torch.save(dict(meta=dict(iter=epoch)), path)
        os.utime(path, (now, now + jump * (epoch == 1)))
    (tmp_path / 'last_checkpoint').write_text(str(path))
    os.utime(tmp_path / 'last_checkpoint', (now, now))
    assert find_checkpoint(str(tmp_path)) == str(path)


def test_kill_between_a_checkpoint_and_its_name(tmp_path):
    for epoch in (1, 2):
        path = tmp_path / f'epoch_{epoch}.pth'
        torch.save(dict(meta=dict(iter=epoch)), path)
        os.utime(path, (epoch, epoch))
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    os.utime(tmp_path / 'last_checkpoint', (1, 1))
    assert find_checkpoint(str(tmp_path)) == str(path)


# Signals


@pytest.mark.parametrize(
    ('number', 'iteration'),
    [(signal.SIGTERM, 4), (signal.SIGUSR1, 6)],
    ids=['in mid-epoch', 'at the end of an epoch'],
)
def test_signal_saves_and_stops(config, events, uninterrupted, tmp_path, number, iteration):
    events[0, iteration] = send(number)
    handler = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        train(config, tmp_path)
    assert stop.value.code == 75
    assert signal.getsignal(number) is handler
    text = f'Stopped by {number.name} after iteration {iteration} of 9; all of it is saved in'
    assert f'{text} {tmp_path}/stopped.pth. To go on, run: python' in log(tmp_path)
    events.clear()
    assert train(config, tmp_path, '--resume') == list(range(iteration + 1, 10))
    assert_same_end(tmp_path, uninterrupted)
    assert not (tmp_path / 'stopped.pth').exists()


def test_signal_in_a_training_by_iterations(config, events, tmp_path):
    path = tmp_path / 'by_iterations.py'
    path.write_text(f'{Path(config).read_text()}{BY_ITERATIONS}')
    events[0, 4] = send(signal.SIGTERM)
    with pytest.raises(SystemExit):
        train(str(path), tmp_path)
    events.clear()
    assert train(str(path), tmp_path, '--resume') == [5, 6]


def test_signal_in_a_validation(config, tmp_path, monkeypatch):
    path = tmp_path / 'with_validation.py'
    path.write_text(f'{Path(config).read_text()}{VALIDATION}')
    with monkeypatch.context() as patch:
        patch.setattr(RisingMetric, 'process', lambda *args: send(signal.SIGTERM)())
        with pytest.raises(SystemExit):
            train(str(path), tmp_path)
    assert saved(tmp_path / 'stopped.pth')['meta']['iter'] == 3
    assert (tmp_path / 'best_score_epoch_1.pth').exists()
    assert train(str(path), tmp_path, '--resume') == list(range(4, 10))


def test_signal_to_one_rank_stops_all_after_the_same_iteration(config, events, tmp_path):
    events[1, 4] = send(signal.SIGTERM)
    processes = fork_training(config, tmp_path)
    assert [process.wait() for process in processes] == [75, 75]
    done = [printed_iterations(process) for process in processes]
    assert done[0] == done[1]
    assert done[0][-1] in (4, 5)
    stopped = saved(tmp_path / 'work' / 'stopped.pth')['meta']
    assert stopped['iter'] == done[0][-1]
    assert 'Stopped by a signal to another process after' in processes[0].text()
    # On another number of processes it goes on, too: here with the batch of the two.
    events.clear()
    assert train(config, tmp_path / 'work', '--resume') == list(range(done[0][-1] + 1, 10))


def test_signal_to_the_whole_job_leaves_workers_alive(config, tmp_path):
    work_dir = tmp_path / 'work'
    training = trainer(config, work_dir, options=['train_dataloader.num_workers=1'])
    process = Forked(training, tmp_path / 'out.txt')
    process.wait_for('iteration 1.')
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 75
    stopped = saved(work_dir / 'stopped.pth')['meta']
    assert stopped['iter'] == printed_iterations(process)[-1]


def test_interrupt_says_what_is_lost(config, events, tmp_path):
    events[0, 5] = send(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        train(config, tmp_path)
    assert stop.value.code == 130
    assert (
        f'Interrupted after iteration 4: saved up to iteration 3 in {tmp_path}/epoch_1.pth, 1 are lost.'
    ) in log(tmp_path)


def test_second_interrupt_leaves_at_once(tmp_path):
    def interrupt_twice():
        with StopOnSignalHook().listening():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                os.kill(os.getpid(), signal.SIGINT)  # torchrun repeats that of the terminal
                print('first', flush=True)
                time.sleep(3600)

    process = Forked(interrupt_twice, tmp_path / 'out.txt')
    process.wait_for('first')
    time.sleep(1.1)
    process.kill(signal.SIGINT)
    assert process.wait() == 130


# Data loaders


def test_stalled_worker(config, tmp_path, monkeypatch):
    monkeypatch.setattr(LoadImageFromFile, 'transform', lambda self, results: time.sleep(3600))
    # How long the end waits for the worker.
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.2)
    options = ['train_dataloader.num_workers=1', 'train_dataloader.timeout=1']
    with pytest.raises(
        SystemExit, match=r'^error: DataLoader timed out after 1 seconds: a worker '
    ):
        train(config, tmp_path, options=options)


def test_error_of_a_worker_is_one_line(config, tmp_path, monkeypatch):
    def fail(self, results):
        raise ValueError('bytes missing')

    monkeypatch.setattr(LoadImageFromFile, 'transform', fail)
    message = r'^error: /\S+.jpg: not a readable image \(bytes missing\)$'
    with pytest.raises(SystemExit, match=message):
        train(config, tmp_path, options=['train_dataloader.num_workers=1'])
