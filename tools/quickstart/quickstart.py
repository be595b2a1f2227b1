#!/usr/bin/env python
"""Train a small detector on generated images within minutes, test it on unseen ones, draw what it finds, export it."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

try:
    import mmdet_setdet  # noqa: F401, I001  (first: it leaves out what the stack prints on import)
    import mmcv
    import torch
    from mmengine.device import get_device
    from mmengine.fileio import get
    from mmengine.hooks import Hook
    from mmengine.runner import Runner, find_latest_checkpoint

    from mmdet_setdet import SetDetector
    from mmdet_setdet.engine.command_line import add_config_options, build_runner, load_config, run
    from mmdet_setdet.engine.devices import gpu_problem
    from mmdet_setdet.engine.precision import amp_options, has_bfloat16
    from mmdet_setdet.errors import InputError
    from mmdet_setdet.visualization import draw_predictions, plot_curves
except ImportError as error:
    raise SystemExit(
        f'quickstart cannot start: {error}\n`make demo` sets everything up and then runs this script; or '
        'run it with the Python of an environment in which mmdet_setdet is installed.'
    ) from error

ROOT = Path(__file__).resolve().parents[2]


class NotesHook(Hook):
    """Measure the time of the training, and keep the first results of the evaluation.

    The results are kept during the evaluation because only then the weights are those of an averaged (EMA) model.

    Args:
        num_pictures (int): How many results to keep.
    """

    def __init__(self, num_pictures: int) -> None:
        self.num_pictures = num_pictures
        self.train_seconds = 0.0
        self.samples: list = []

    def before_train(self, runner: Runner) -> None:
        self._start = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        self.train_seconds = time.perf_counter() - self._start

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        missing = self.num_pictures - len(self.samples)
        self.samples.extend(outputs[:missing])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default=str(ROOT / 'configs/quickstart/dn_detr_r18_shapes.py'))
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the weights and of the order of the images'
    )
    parser.add_argument(
        '--work-dir', default='work_dirs/quickstart', help='results go here (default: %(default)s)'
    )
    parser.add_argument(
        '--num-pictures', type=int, default=12, help='images on the sheet of predictions'
    )
    parser.add_argument(
        '--precision',
        choices=['auto', 'float32', 'bfloat16'],
        default='auto',
        help='of the training; auto: bfloat16 on a CPU that multiplies it by itself, else float32',
    )
    add_config_options(parser, 'settings of the config to replace, such as train_cfg.max_iters=200')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, draw, export.

    ``train_seconds`` in the last line includes the validations during training, but neither the building of model and
    data nor the final evaluation.
    """
    args = parse_args(argv)
    problem = gpu_problem()
    if problem:  # small enough for the CPU, which elsewhere must be asked for
        print(f'NOTE: {problem}')
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    if args.num_pictures < 0:
        raise InputError(f'--num-pictures {args.num_pictures}: must be 0 or more')
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(
            len(os.sched_getaffinity(0))
        )  # by itself torch leaves hyper-threads idle
    options = args.cfg_options
    if trains_in_bfloat16(args.precision):
        options = amp_options('bfloat16', options)
        print('Training in bfloat16; --precision float32 trains without.')
    config = load_config(args.config, options, work_dir=args.work_dir)
    config.randomness = {'seed': args.seed}
    runner = build_runner(config)
    notes = NotesHook(args.num_pictures)
    runner.register_hook(notes)
    runner.train()
    metrics = runner.test()

    out = Path(args.work_dir)
    images = [
        mmcv.imfrombytes(get(sample.img_path), channel_order='rgb') for sample in notes.samples
    ]
    draw_predictions(
        images, notes.samples, runner.test_dataloader.dataset.metainfo, out / 'predictions.png'
    )
    # The folder of this very run: an earlier one may be beside it.
    plot_curves({Path(args.config).stem: runner.log_dir}, out / 'curves.png')
    export(SetDetector(config, find_latest_checkpoint(out)), out / 'model.onnx')
    bbox_map = metrics.get(
        'coco/bbox_mAP', 0.0
    )  # CocoMetric leaves it out if nothing at all was predicted
    print(
        f'quickstart bbox_mAP={bbox_map:.3f} train_seconds={notes.train_seconds:.0f} pictures={args.work_dir}'
    )


def trains_in_bfloat16(precision: str) -> bool:
    """Return whether to train in mixed precision, by default on a CPU that is faster in it."""
    if precision == 'auto':
        return get_device() == 'cpu' and has_bfloat16('cpu')
    return precision == 'bfloat16'


def export(detector: SetDetector, file: Path) -> None:
    """Write a file for the runtime, and say how to serve it; without onnx a note, since nothing else failed."""
    try:
        detector.export(file, with_layers=True)
    except InputError as error:
        print(f'NOTE: not exported: {error}')
        return
    print(f'In the browser: {Path(sys.executable).parent}/setdet serve {file}')


if __name__ == '__main__':
    run(main)
