#!/usr/bin/env python
"""Train small detectors with and without denoising, several seeds each, and compare them in a table and a picture.

A run that is complete in its work_dir is not repeated, so an interrupted comparison continues.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmdet_setdet.engine.command_line import run
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization import plot_validations, read_scalars

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ('dn_anchor_detr', 'dn_faster_rcnn', 'dn_mask_rcnn', 'dn_mask2former')
PARTS = ('roi_head', 'panoptic_head')  # which have the option in models that are mmdet's
METRICS = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP')
LABELS = ('without', 'with denoising')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs',
        nargs='*',
        default=[str(ROOT / f'configs/quickstart/{name}_r18_shapes.py') for name in CONFIGS],
        help='configs with denoising (default: the four of the quick start)',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--work-dir', default='work_dirs/denoising', help='(default: %(default)s)')
    parser.add_argument('--out', help='picture to write (default: curves.png in the work_dir)')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='as of tools/train.py'
    )
    return parser.parse_args(argv)


def denoising_option(config: str) -> str:
    """Name the option of a config that holds denoising.

    Raises:
        InputError: There is none.
    """
    model = Config.fromfile(config).model
    if model.get('denoising'):
        return 'model.denoising'
    for part in PARTS:
        if model.get(part, {}).get('denoising'):
            return f'model.{part}.denoising'
    raise InputError(f'{config}: neither model nor its {" and ".join(PARTS)} have denoising')


def train(config: str, work_dir: Path, options: Sequence[str]) -> None:
    """Train in a process of its own, unless the work_dir says that it is done."""
    done = work_dir / 'done'
    if done.exists():
        return
    work_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', work_dir]
    with open(work_dir / 'output.log', 'w') as log:
        result = subprocess.run(
            [*command, '--cfg-options', *options], stdout=log, stderr=subprocess.STDOUT
        )
    if result.returncode:
        raise InputError(f'training failed, see {work_dir}/output.log')
    done.touch()


def last_values(work_dirs: Sequence[Path], metric: str) -> np.ndarray:
    """The metric at the end of each run; empty if it was not measured."""
    curves = [read_scalars(work_dir, val_key=f'coco/{metric}')[1] for work_dir in work_dirs]
    return np.array([values[-1] for _, values in curves if len(values)])


def print_rows(name: str, runs: dict[str, list[Path]]) -> None:
    """Print the means and standard deviations of a model's metrics as rows of a table."""
    for metric in METRICS:
        values = [last_values(work_dirs, metric) for work_dirs in runs.values()]
        if len(values[0]):
            cells = [f'{value.mean():.3f} ± {value.std():.3f}' for value in values]
            gain = values[1].mean() - values[0].mean()
            print(f'| {name} | {metric} | {" | ".join(cells)} | {gain:+.3f} |', flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, print the table, draw the curves."""
    args = parse_args(argv)
    print(f'| config | metric | {" | ".join(LABELS)} | difference |\n|---|---|---|---|---|')
    panels = {}
    for config in args.configs:
        name = Path(config).stem
        switch_off = f'{denoising_option(config)}=None'
        panels[name] = {}
        for label, switch in zip(LABELS, ([switch_off], [])):
            folders = [
                Path(args.work_dir, name, f'{label.split()[0]}_seed{seed}') for seed in args.seeds
            ]
            for seed, folder in zip(args.seeds, folders):
                train(config, folder, [f'randomness.seed={seed}', *switch, *args.cfg_options])
            panels[name][label] = folders
        print_rows(name, panels[name])
    out = args.out or f'{args.work_dir}/curves.png'
    plot_validations(panels, out)
    print(f'curves={out}')


if __name__ == '__main__':
    run(main)
