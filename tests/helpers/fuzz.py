"""What bad input does to the tools: run one with it, in this process, and say how it ended."""

import contextlib
import gc
import io
import logging
import re
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmdet_setdet.errors import InputError

from .configs import CONFIGS
from .tiny_detector import new_name, tool

SECONDS = 20  # a case that takes longer hangs
LONGEST = 1000  # characters of a clear sentence, paths and options included
# A DN-DETR of a few thousand weights.
SMALL = {
    'custom_imports': dict(imports=['mmdet_setdet'], allow_failed_imports=False),
    'model.num_queries': 12,
    'model.denoising.num_groups': 1,
    'model.backbone.base_channels': 8,
    'model.backbone.frozen_stages': -1,
    'model.neck.in_channels': [32],
    'model.neck.out_channels': 32,
    'model.positional_encoding.num_feats': 16,
    'model.encoder.layer_cfg.self_attn_cfg.embed_dims': 32,
    'model.encoder.layer_cfg.ffn_cfg.embed_dims': 32,
    'model.encoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'model.decoder.num_layers': 1,
    'model.decoder.layer_cfg.self_attn_cfg.embed_dims': 32,
    'model.decoder.layer_cfg.cross_attn_cfg.embed_dims': 32,
    'model.decoder.layer_cfg.ffn_cfg.embed_dims': 32,
    'model.decoder.layer_cfg.ffn_cfg.feedforward_channels': 32,
    'model.bbox_head.embed_dims': 32,
    'model.bbox_head.num_classes': 3,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'default_hooks.checkpoint.interval': -1,
}
CLASSES = dict(classes=('circle', 'square', 'star'))


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        kind (str): 'works', 'refused' (one clear sentence), 'unclear' (something else than a sentence), 'traceback',
            'hangs', or 'silent': it works, but on less than what the input says, without a warning.
        text (str): The message, or the traceback.
    """

    kind: str
    text: str = ''

    @property
    def is_good(self) -> bool:
        """Whether a user can live with it."""
        return self.kind in ('works', 'refused')


def write_fuzz_config(folder: Path, root: Path) -> str:
    """Write a config that trains one iteration of a tiny DN-DETR on the data under ``root`` and evaluates it."""
    cfg = Config.fromfile(CONFIGS / 'quickstart/dn_detr_r18_shapes.py')
    cfg.merge_from_dict(SMALL)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(64, 64), keep_ratio=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    dataset = dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        metainfo=CLASSES,
        pipeline=pipeline,
    )
    loader = dict(batch_size=4, num_workers=0)
    order = dict(type='DefaultSampler', shuffle=False)
    cfg.train_dataloader = dict(dataset=dataset, sampler=order, **loader)
    cfg.val_dataloader = dict(dataset=dict(test_mode=True, **dataset), sampler=order, **loader)
    cfg.test_dataloader = cfg.val_dataloader
    metric = dict(type='CocoMetric', ann_file=f'{root}/annotations.json', metric='bbox')
    cfg.val_evaluator = cfg.test_evaluator = metric
    cfg.custom_hooks = []
    path = folder / 'fuzz.py'
    cfg.dump(path)
    return str(path)


@contextlib.contextmanager
def quick_runs() -> Iterator[None]:
    """Leave out what takes most of a short run's time and does not depend on its input: the log of the config."""
    replaced = [
        (Config, 'pretty_text', ''),
        (Config, 'dump', lambda *_: None),
        (Runner, '_log_env', lambda *_: None),
        (gc, 'collect', lambda *_: 0),
    ]
    originals = [owner.__dict__[name] for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), original in zip(replaced, originals):
            setattr(owner, name, original)


class Tools:
    """The tools ``train`` and ``test``, and how many objects the last run trained on.

    Args:
        work_dir (Path): Where runs write.
    """

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.runner = None
        self.tools = {name: tool(name) for name in ('train', 'test', 'convert_checkpoint')}
        for name in ('train', 'test'):
            build = self.tools[name].build_runner
            self.tools[name].build_runner = lambda cfg, build=build: self._keep(build(cfg))

    def _keep(self, runner: Runner) -> Runner:
        self.runner = runner
        return runner

    def run(self, name: str, *argv: str, options: Sequence[str] = ()) -> Outcome:
        """Run ``tools/NAME.py ARGV --cfg-options OPTIONS``."""
        self.runner = None
        argv = [*argv, '--work-dir', str(self.work_dir)]
        argv += ['--cfg-options', f'experiment_name={new_name()}', *options]
        return judge(self.tools[name].main, argv)

    def convert(self, *argv: str) -> Outcome:
        """Run ``tools/convert_checkpoint.py ARGV``."""
        return judge(self.tools['convert_checkpoint'].main, argv)

    def num_objects(self) -> int:
        """Return how many objects the training data of the last run holds."""
        dataset = self.runner.train_loop.dataloader.dataset
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        return sum(len(info['instances']) for info in infos)


class _Hang(BaseException):
    pass


def _stop(*_) -> None:
    raise _Hang


def judge(main: Callable, argv: Sequence[str]) -> Outcome:
    """Call ``main(argv)`` and say how it ended."""
    errors = io.StringIO()
    torch.manual_seed(0)
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(errors):
            main(list(argv))
    except InputError as error:
        return _refused(str(error))
    except SystemExit as error:
        if not error.code:
            return Outcome('works')
        message = error.code if isinstance(error.code, str) else errors.getvalue()
        return _refused(message.strip().splitlines()[-1])
    except _Hang:
        return Outcome('hangs', f'after {SECONDS} s')
    except BaseException:
        return Outcome('traceback', traceback.format_exc())
    finally:
        signal.alarm(0)
    return Outcome('works')


def _refused(message: str) -> Outcome:
    is_clear = 20 < len(message) < LONGEST and '\n' not in message
    is_clear = is_clear and not re.search(r'Traceback|<class|object at 0x', message)
    return Outcome('refused' if is_clear else 'unclear', message)


@contextlib.contextmanager
def logged_warnings() -> Iterator[list[str]]:
    """Collect the warnings that any of mmengine's loggers gets."""
    messages = []
    handle = MMLogger.handle

    def keep(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        handle(self, record)

    MMLogger.handle = keep
    try:
        yield messages
    finally:
        MMLogger.handle = handle
