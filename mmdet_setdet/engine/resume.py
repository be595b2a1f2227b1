"""Resuming a run where it was stopped, also in the middle of an epoch."""

import itertools
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, EpochBasedTrainLoop

from ..errors import InputError
from ..registry import LOOPS
from .checkpoint_hook import POINTER


def find_checkpoint(work_dir: str) -> str | None:
    """Return the newest complete checkpoint of a training in ``work_dir``, None if there is none.

    It is the one that ``last_checkpoint`` names. Only where the run was killed just before it wrote that name, a later
    file with more iterations is taken; so a clock that jumps, or files of an earlier training, mislead nobody. A file
    that was cut short is skipped with a warning. Complete files are recognised by their end: torch's format closes
    with a table of contents.
    """
    for path in _newest_first(Path(work_dir)):
        if zipfile.is_zipfile(path):
            return str(path)
        print_log(
            f'{path}: incomplete, as after a kill while it was being written; looking for the one before',
            logger='current',
            level=logging.WARNING,
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    paths = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth')]
    paths.sort(key=_time, reverse=True)
    pointer = folder / POINTER
    if not pointer.is_file():
        return paths
    named = folder / Path(pointer.read_text().strip()).name
    if not named.is_file():  # a pointer of mmengine's own, cut short
        return paths
    paths = [path for path in paths if path != named]
    later = []
    for path in paths:
        if _time(path) > _time(pointer) and _iterations(path) > _iterations(named):
            later.append(path)
    return [*later, named, *(path for path in paths if path not in later)]


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _iterations(path: Path) -> int:
    """Return after how many iterations a checkpoint was written; 0 if the file cannot be read."""
    try:
        return CheckpointLoader.load_checkpoint(str(path), 'cpu')['meta']['iter']
    except (InputError, KeyError, RuntimeError):
        return 0


class _SkipOnce:
    """A batch sampler that skips its first ``skip`` batches, but only in the next epoch.

    Args:
        batch_sampler (BatchSampler): The batch sampler of a data loader.
    """

    def __init__(self, batch_sampler) -> None:
        self.batch_sampler = batch_sampler
        self.sampler = getattr(batch_sampler, 'sampler', None)  # mmengine sets its epoch
        self.skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        skip = self.skip
        self.skip = 0
        return itertools.islice(iter(self.batch_sampler), skip, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, which finishes the interrupted epoch when it resumes from a mid-epoch checkpoint.

    mmengine restarts the epoch but keeps the count of iterations, so that every schedule by iteration ends too early.
    Here the batches that the epoch has had are skipped without being loaded; the order within an epoch depends only on
    seed and epoch. (The state of the random generators is not in a checkpoint: augmentation draws differ.)

    For example, a checkpoint after 5 iterations, with 3 batches per epoch::

        epoch       |    0    |    1    |    2    |
        iteration   | 0  1  2 | 3  4  5 | 6  7  8 |
        resumes with                   ^ batch 2 of epoch 1: 5 - 1 * 3 are done
    """

    _epoch_length_changed = False

    def run_epoch(self) -> None:
        done = self._batches_done()
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if done:
            self._skip(done)
        for index, batch in enumerate(self.dataloader, done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_done(self) -> int:
        """Return how many batches of the current epoch have been trained on."""
        batches_per_epoch = len(self.dataloader)
        done = self._iter - self._epoch * batches_per_epoch
        if 0 <= done <= batches_per_epoch:
            return done
        if not self._epoch_length_changed:
            self._epoch_length_changed = True
            self.runner.logger.warning(
                f'iteration {self._iter} is not within epoch {self._epoch + 1} of {batches_per_epoch} batches: the '
                'checkpoint comes from another batch size, number of processes or data set; the count of epochs goes '
                'on, and this one starts at its beginning'
            )
        return 0

    def _skip(self, batches: int) -> None:
        """Make the next iteration over the data loader start after so many batches."""
        if not isinstance(self.dataloader.batch_sampler, _SkipOnce):
            # A loader refuses to have this attribute replaced, because workers of an earlier epoch might still follow
            # the old one; here none has been started.
            object.__setattr__(
                self.dataloader, 'batch_sampler', _SkipOnce(self.dataloader.batch_sampler)
            )
        self.dataloader.batch_sampler.skip = batches
