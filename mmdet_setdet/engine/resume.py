"""Going on where a run was stopped, also in the middle of an epoch."""
import itertools
import logging
import os
import zipfile
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop

from ..registry import LOOPS


def find_checkpoint(work_dir: str) -> str | None:
    """The newest complete checkpoint that training left in ``work_dir``, None if there is none.

    A file that was being written when the run was killed is passed over with a warning. Whether a file is complete is
    seen from its end: torch's format closes with a table of contents.
    """
    pointer = Path(work_dir) / 'last_checkpoint'
    newest_first = sorted((path for pattern in ('epoch_*.pth', 'iter_*.pth') for path in Path(work_dir).glob(pattern)),
                          key=lambda path: path.stat().st_mtime_ns, reverse=True)
    if pointer.is_file():
        # Usually the newest; not if the run was killed between the checkpoint and its name, which comes after it.
        named = Path(work_dir) / os.path.basename(pointer.read_text().strip())
        newest_first += [named] if named.is_file() and named not in newest_first else []
    for path in newest_first:
        if zipfile.is_zipfile(path):
            return str(path)
        print_log(f'{path}: incomplete, as after a kill while it was being written; looking for the one before',
                  logger='current', level=logging.WARNING)
    return None


class _SkipOnce:
    """A batch sampler that leaves out its first ``skip`` batches, the next time only."""

    def __init__(self, batch_sampler) -> None:
        self._batch_sampler, self.skip = batch_sampler, 0

    def __iter__(self):
        skip, self.skip = self.skip, 0
        return itertools.islice(iter(self._batch_sampler), skip, None)

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __getattr__(self, name: str):
        # Only for names that are not found; `_batch_sampler` itself is missing while a copy is being unpickled.
        if name == '_batch_sampler':
            raise AttributeError(name)
        return getattr(self._batch_sampler, name)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, which after a checkpoint from mid-epoch goes on with the rest of that epoch.

    mmengine starts the epoch anew but keeps the count of iterations, so that every schedule by iteration ends too
    early. Here the batches that the epoch has had are left out without being loaded: the order of an epoch depends only
    on seed and epoch. (The state of the random generators is not in a checkpoint: augmentation draws differ.)
    """

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
        done = self._iter - self._epoch * len(self.dataloader)
        if 0 <= done <= len(self.dataloader):
            return done
        if not self._epoch_length_changed:
            self._epoch_length_changed = True
            self.runner.logger.warning(
                f'iteration {self._iter} is not within epoch {self._epoch + 1} of {len(self.dataloader)} batches: the '
                'checkpoint comes from another batch size, number of processes or data set; epochs are counted on, '
                'and this one starts at its beginning')
        return 0

    _epoch_length_changed = False

    def _skip(self, batches: int) -> None:
        if not isinstance(self.dataloader.batch_sampler, _SkipOnce):
            # A loader guards this attribute against assignment, because workers of an earlier epoch might still
            # follow the old one; here none has been started.
            object.__setattr__(self.dataloader, 'batch_sampler', _SkipOnce(self.dataloader.batch_sampler))
        self.dataloader.batch_sampler.skip = batches
