"""Checkpoints that are whole or absent, whenever the disk fills up or the process is killed."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..errors import InputError

# Resuming reads this file first: it holds the name of the newest checkpoint.
POINTER = 'last_checkpoint'
# What a signal leaves; see stopping.py.
STOPPED = 'stopped.pth'
# One name for all, so that what a kill leaves behind is overwritten by the next.
_UNFINISHED = 'unfinished.tmp'


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file in one step: yield the path of another beside it, which takes its place at the end.

    The new content is on the disk before the name changes, so that after a power failure, too, the file is the old or
    the new one as a whole. Nobody looks for checkpoints under the name of the unfinished file.

    Raises:
        InputError: The file cannot be written, for example because the disk is full.
    """
    unfinished = path.with_name(_UNFINISHED)
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
        _flush(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        raise InputError(
            f'{path}: cannot be written ({error.strerror or error}; {free:,} bytes are free there). The checkpoints '
            'before it are whole: make room, then start again with --resume'
        ) from error


def _flush(path: Path) -> None:
    """Wait until the disk has what was written to a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Postponed:
    """A file backend that puts off all removals.

    Args:
        backend (BaseStorageBackend): The backend that does everything else.
    """

    def __init__(self, backend) -> None:
        self._backend = backend
        self._paths = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._paths.append(path)

    def carry_out(self, keep: Sequence[str | None]) -> None:
        """Remove all but the paths in ``keep``, which have been written anew in the meantime."""
        for path in self._paths:
            if path not in keep:
                self._backend.remove(path)


class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, which removes an old checkpoint only when the new one is complete.

    mmengine removes it first, so that with ``max_keep_ckpts=1`` or ``save_best`` a kill or a full disk in between
    leaves none. The disk so has to hold one checkpoint more. ``last_checkpoint`` is replaced in one step.
    :class:`~mmdet_setdet.engine.runner.CheckingRunner` uses this class where a config says ``CheckpointHook``, and
    writes the files themselves in one step.
    """

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        surplus = self._note_step(runner, step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        with replacing(Path(runner.work_dir, POINTER)) as file:
            file.write_text(self.last_ckpt)
        Path(runner.work_dir, STOPPED).unlink(missing_ok=True)
        if surplus is not None:
            self._remove_step(surplus)

    def _note_step(self, runner: Runner, step: int) -> int | None:
        """Add a step to those whose checkpoints are kept; return the one that is then too many, if any."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return None
        is_full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        surplus = self.keep_ckpt_ids.popleft() if is_full else None
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return surplus

    def _remove_step(self, step: int) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        backend = self.file_backend
        self.file_backend = _Postponed(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
            self.file_backend.carry_out(keep=self._best_checkpoints())
        finally:
            self.file_backend = backend

    def _best_checkpoints(self) -> list[str | None]:
        if not self.save_best:
            return []
        if len(self.key_indicators) == 1:
            return [self.best_ckpt_path]
        return list(self.best_ckpt_path_dict.values())
