"""The runner of this package's tools and configs: mmengine's with input checks, also for several CPU processes."""

import time
from collections.abc import Callable
from pathlib import Path

import torch.nn as nn
from mmengine.device import get_device
from mmengine.dist import get_rank, is_distributed, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..checks import (
    check_class_folders,
    check_classes,
    check_dataset,
    check_fit,
    check_object_counts,
    checked_data_sets,
    checked_metrics,
    image_folders,
)
from ..checks.checkpoints import dataset_meta
from ..errors import InputError
from ..noise import is_no_noise
from ..registry import RUNNERS
from .building import building, explained
from .checkpoint_hook import SafeCheckpointHook, replacing
from .cpu_processes import init_cpu_group, share_cores
from .devices import check_devices
from .launchers import name_process
from .optimizer_groups import fit_to_groups, fit_to_layout
from .peers import watching_peers
from .precision import keep_in_float32, set_matmul_precision
from .resume import find_checkpoint
from .spare_cores import SpareCoresHook
from .stopping import StopOnSignalHook, how_to_go_on
from .workers import STALLED, protect_workers


@RUNNERS.register_module()
class CheckingRunner(Runner):
    """mmengine's Runner with checks of the input, exact resuming, and distributed runs on CPU.

    ``tools/train.py`` and ``tools/test.py`` use it for every config; with ``runner_type='CheckingRunner'`` in a config,
    mmdet's own tools do too.

    - Annotations, classes, image files and checkpoints are checked where they are read
      (:class:`~mmdet_setdet.errors.InputError`).
    - ``resume='auto'`` (or ``resume=True`` without ``load_from``) loads the newest complete checkpoint in ``work_dir``
      and resumes mid-epoch; if there is none yet, training starts as the config says, including ``load_from``.
    - Parameters with equal settings of the optimizer share a group; checkpoints of mmengine's groups are resumed too.
    - Within autocast, what half precision breaks in mmdet's models stays in float32
      (:func:`~mmdet_setdet.engine.precision.keep_in_float32`).
    - ``matmul_precision`` of the config is torch's ``float32_matmul_precision``.
    - On a CPU threads make room for other programs
      (:class:`~mmdet_setdet.engine.spare_cores.SpareCoresHook`), unless ``OMP_NUM_THREADS`` is set.
    - Without an accelerator the processes of a launcher communicate over gloo and share the cores; where there are
      NVIDIA GPUs that torch cannot use, the run stops (:func:`~mmdet_setdet.engine.devices.check_devices`).
    - Checkpoints are whole or absent, and never of weights that are not finite.
    - SIGTERM and SIGUSR1 stop a training with a checkpoint; no process outlives another that fails.
    """

    # The newest checkpoint to resume from, and after how many iterations it was written.
    _saved = (None, 0)

    def setup_env(self, env_cfg: dict) -> None:
        if self.distributed:
            name_process(self.launcher)
        check_devices(self.launcher)
        on_cpu = self.distributed and get_device() == 'cpu'
        if on_cpu and not is_distributed():
            dist_cfg = env_cfg.get('dist_cfg') or {}
            options = {name: dist_cfg[name] for name in ('timeout', 'port') if name in dist_cfg}
            init_cpu_group(self.launcher, **options)
        super().setup_env(env_cfg)
        if on_cpu:
            share_cores()
        precision = self.cfg.get('matmul_precision')
        if precision is not None:
            set_matmul_precision(precision)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(is_no_noise)
        return logger

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        """As mmengine's, but a second run in the process does not write its curves to the folder of the first."""
        if isinstance(visualizer, dict):
            visualizer = {**visualizer, 'name': self.experiment_name}
        return super().build_visualizer(visualizer)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        keep_in_float32(model)
        if self.distributed and get_device() == 'cpu' and not is_model_wrapper(model):
            # Synchronised norms exist for GPUs only; each process uses its own statistics instead.
            model = revert_sync_batchnorm(model)
            defaults = dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
            # By default mmengine names a CUDA device; on CPU there must be none.
            model_wrapper_cfg = {**defaults, **(model_wrapper_cfg or {}), 'device_ids': None}
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        if seed is not None and diff_rank_seed:
            # The seed that all processes have in common: mmengine would draw one, another after resuming.
            seed -= get_rank()
        if isinstance(dataloader, dict) and get_device() == 'cpu':
            dataloader = {**dataloader, 'pin_memory': False}
        if isinstance(dataloader, dict) and dataloader.get('num_workers'):
            dataloader = {'timeout': STALLED, **dataloader}
        with checked_data_sets():
            loader = Runner.build_dataloader(dataloader, seed)
        check_dataset(loader.dataset)
        if not len(loader):
            raise InputError(
                f'the data set has {len(loader.dataset)} images, less than one batch, and with drop_last '
                'an incomplete batch is left out; make batch_size smaller'
            )
        protect_workers(loader)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        if isinstance(loop, dict):
            by_epoch = loop.get('by_epoch') or loop.get('type') == 'EpochBasedTrainLoop'
            if by_epoch:
                loop = {**loop, 'type': 'mmdet_setdet.ResumableEpochLoop'}
                loop.pop('by_epoch', None)
        return self._check_loop(super().build_train_loop(loop), is_training=True)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        return self._check_loop(super().build_val_loop(loop))

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        return self._check_loop(super().build_test_loop(loop))

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        with checked_metrics():
            return super().build_evaluator(evaluator)

    def _check_loop(self, loop: BaseLoop, is_training: bool = False) -> BaseLoop:
        dataset = loop.dataloader.dataset
        if isinstance(self._train_loop, BaseLoop):
            for trained in image_folders(self._train_loop.dataloader.dataset):
                check_class_folders(
                    dataset, trained.metainfo['classes'], trained.data_prefix['img_path']
                )
        model = self.cfg.get('model')
        check_classes(model, dataset, self.cfg.filename or 'the config')
        if isinstance(model, dict):
            check_object_counts(model, dataset, is_training)
        return loop

    def build_optim_wrapper(
        self, optim_wrapper: Optimizer | OptimWrapper | dict
    ) -> BaseOptimWrapper:
        if isinstance(optim_wrapper, dict):
            optim_wrapper.setdefault('constructor', 'mmdet_setdet.GroupedOptimWrapperConstructor')
        return super().build_optim_wrapper(optim_wrapper)

    def register_hooks(self, *args, **kwargs) -> None:
        super().register_hooks(*args, **kwargs)
        self._signals = StopOnSignalHook()
        self.register_hook(self._signals)
        if get_device() == 'cpu' and SpareCoresHook.is_useful():
            self.register_hook(SpareCoresHook())

    def train(self) -> nn.Module:
        with watching_peers(), self._signals.listening():
            try:
                return self._train()
            except KeyboardInterrupt:
                self.logger.info(self._what_is_saved())
                raise

    def _train(self) -> nn.Module:
        try:
            return super().train()
        except Exception:
            # Ctrl-C may have made another process leave, and this one fail because of that, before it could answer.
            time.sleep(0)
            raise

    def val(self) -> dict:
        with watching_peers():
            return super().val()

    def test(self) -> dict:
        with watching_peers():
            return super().test()

    def _what_is_saved(self) -> str:
        done = self.iter if isinstance(self._train_loop, BaseLoop) else 0
        path, saved = self._saved
        if path is None:
            return f'Interrupted after iteration {done}: none of it is saved'
        return (
            f'Interrupted after iteration {done}: saved up to iteration {saved} in {path}, {done - saved} are lost. '
            f'To go on, {how_to_go_on()}'
        )

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        if isinstance(hook, dict) and hook.get('type') == 'CheckpointHook':
            hook = {**hook, 'type': SafeCheckpointHook}
        super().register_hook(hook, priority)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        self._check_finite()
        meta = kwargs['meta'] = kwargs.get('meta') or {}
        is_on_disk = ('://' not in str(out_dir)) and (kwargs.get('backend_args') is None)
        if not is_on_disk:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with replacing(Path(out_dir, filename)) as file:
            super().save_checkpoint(out_dir, file.name, *args, **kwargs)
        if kwargs.get('save_optimizer', True):
            self._saved = str(Path(out_dir, filename)), meta['iter']

    def _check_finite(self) -> None:
        """Check that the weights are numbers, so that those of a diverged training replace none of the good ones."""
        for name, weight in self.model.named_parameters():
            if not weight.isfinite().all():
                path, saved = self._saved
                raise InputError(
                    f'{name} is not finite: the training diverged. The newest checkpoint before is '
                    f'{path or "none"}, after iteration {saved}. Go on from there with a smaller learning rate, a '
                    'longer warm-up or stronger clipping of gradients (optim_wrapper.clip_grad)'
                )

    def load_or_resume(self) -> None:
        from_newest = self._resume == 'auto' or (self._resume and self._load_from is None)
        if from_newest and not self._has_loaded:
            newest = find_checkpoint(self.work_dir)
            self._resume = newest is not None
            if newest is None:
                self.logger.info(
                    f'No checkpoint to resume from in {self.work_dir}: training starts at the beginning'
                )
            else:
                self.logger.info(f'Resuming from {newest}')
                self._load_from = newest
        super().load_or_resume()
        self._saved = (self._load_from, self.iter) if self._resume else (None, 0)

    def resume(self, filename: str, *args, **kwargs) -> None:
        start = f'start from its weights by --cfg-options load_from={filename} resume=False'
        with building(f'{filename}: training cannot be resumed from it; {start}'):
            super().resume(filename, *args, **kwargs)
            int(self.iter), int(self.epoch)
        if isinstance(self.optim_wrapper, OptimWrapper):
            fit_to_layout(self.optim_wrapper.optimizer)
        # The sampler was built before the checkpoint told the seed.
        sampler = self.train_dataloader.sampler
        if hasattr(sampler, 'seed'):
            sampler.seed = self._randomness_cfg['seed']

    def load_checkpoint(
        self, filename: str, map_location: str | Callable = 'cpu', *args, **kwargs
    ) -> dict:
        with building(f'{filename}: its weights cannot be loaded'):
            checkpoint = super().load_checkpoint(filename, map_location, *args, **kwargs)
        fine_tuning = isinstance(self._train_loop, BaseLoop) and not self._resume
        check_fit(self.model, checkpoint, filename, partial=fine_tuning)
        if self._resume and isinstance(self.optim_wrapper, OptimWrapper):
            fit_to_groups(checkpoint, self.model, self.optim_wrapper.optimizer, filename)
        if isinstance(self._test_loop, BaseLoop):
            classes = dataset_meta(checkpoint).get('classes')
            check_class_folders(self._test_loop.dataloader.dataset, classes, filename)
        return checkpoint


# Method of the runner -> what of the config it reads.
_SECTIONS = {
    'setup_env': 'env_cfg',
    'set_randomness': 'randomness',
    'build_logger': 'log_processor or log_level',
    'build_visualizer': 'visualizer',
    'build_model': 'model',
    'wrap_model': 'model_wrapper_cfg',
    'register_hooks': 'default_hooks or custom_hooks',
    'build_train_loop': 'train_cfg or train_dataloader',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
    'build_val_loop': 'val_cfg, val_dataloader or val_evaluator',
    'build_test_loop': 'test_cfg, test_dataloader or test_evaluator',
    '_init_model_weights': 'init_cfg in model',
}
for _method, _section in _SECTIONS.items():
    setattr(CheckingRunner, _method, explained(getattr(CheckingRunner, _method), _section))
