#!/usr/bin/env python
"""Train a small detector on generated images within minutes, evaluate it on held-back ones and draw what it learnt."""
import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

try:
    import mmcv
    import torch
    from mmengine.config import DictAction
    from mmengine.fileio import get
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from mmdet_setdet.engine.command_line import build_runner, load_config, run
    from mmdet_setdet.visualization import draw_predictions, plot_curves
except ImportError as error:
    raise SystemExit(f'quickstart cannot start: {error}\n`make demo` sets everything up and then runs this script; or '
                     'run it with the Python of an environment in which mmdet_setdet is installed.') from error

ROOT = Path(__file__).resolve().parent.parent


class NotesHook(Hook):
    """Takes the time of the training, and keeps the first ``num_pictures`` results of the evaluation.

    The results are taken while the evaluation runs because only then an averaged (EMA) model is in its place.
    """

    def __init__(self, num_pictures: int) -> None:
        self.num_pictures = num_pictures
        self.train_seconds = 0.0
        self.samples: list = []

    def before_train(self, runner: Runner) -> None:
        self._start = time.perf_counter()

    def after_train(self, runner: Runner) -> None:
        self.train_seconds = time.perf_counter() - self._start

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None) -> None:
        self.samples.extend(outputs[:self.num_pictures - len(self.samples)])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what ``load_config`` wants besides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default=str(ROOT / 'configs/quickstart/dn_detr_r18_shapes.py'))
    parser.add_argument('--seed', type=int, default=0, help='of the weights and of the order of the images')
    parser.add_argument('--work-dir', default='work_dirs/quickstart', help='results go here (default: %(default)s)')
    parser.add_argument('--num-pictures', type=int, default=12, help='images on the sheet of predictions')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
                        help='settings of the config to replace, such as train_cfg.max_iters=200')
    parser.set_defaults(launcher='none', local_rank=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, evaluate, draw.

    ``train_seconds`` of the last line includes the validations on the way, and neither the building of model and data
    nor the final evaluation.
    """
    args = parse_args(argv)
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))  # by itself torch leaves hyper-threads idle
    config = load_config(args)
    config.randomness = {'seed': args.seed}
    runner = build_runner(config)
    notes = NotesHook(args.num_pictures)
    runner.register_hook(notes)
    runner.train()
    metrics = runner.test()

    out, meta = Path(args.work_dir), runner.test_dataloader.dataset.metainfo
    images = [mmcv.imfrombytes(get(sample.img_path), channel_order='rgb') for sample in notes.samples]
    draw_predictions(images, notes.samples, meta, out / 'predictions.png')
    # The folder of this very run: an earlier one may lie beside it.
    plot_curves({Path(args.config).stem: runner.log_dir}, out / 'curves.png')
    bbox_map = metrics.get('coco/bbox_mAP', 0.0)  # CocoMetric leaves it out when nothing at all was predicted
    print(f'quickstart bbox_mAP={bbox_map:.3f} train_seconds={notes.train_seconds:.0f} pictures={args.work_dir}')


if __name__ == '__main__':
    run(main)
