#!/usr/bin/env python
"""Prepare trained weights for a release: for each work_dir ``NAME-DIGITS.pth``, ``.md``, ``.py`` and ``.json``.

These are the weights alone, their model card, the config and the log. DIGITS are the first of the SHA-256 of the
weights, and NAME is that of the config, by which ``setdet predict NAME`` finds them.
"""

import argparse
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, find_latest_checkpoint

import mmdet_setdet
from mmdet_setdet.checkpoints.named import digest, weights_of
from mmdet_setdet.engine.command_line import run
from mmdet_setdet.errors import InputError
from mmdet_setdet.visualization.curves import find_scalars

CARD = Path(__file__).with_name('model_card.md')
NOTED = ('Python', 'PyTorch', 'MMEngine')  # of the environment in a log
TIME = re.compile(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', re.MULTILINE)
LICENCE = 'Apache-2.0'
DATA = ('type', 'data_root', 'ann_file', 'num_images', 'image_size', 'seed')


class Training(NamedTuple):
    """What a finished training has left in its work_dir.

    Attributes:
        name (str): Name of the config.
        config (Config): The config as it was run, with the seed.
        checkpoint (dict): The last checkpoint.
        scalars (Path): The log for machines.
        log (str): The log for people.
    """

    name: str
    config: Config
    checkpoint: dict
    scalars: Path
    log: str


def read_training(work_dir: Path) -> Training:
    """Read the newest training of a work_dir.

    Raises:
        InputError: It is not that of a finished training with one config.
    """
    configs = list(work_dir.glob('*.py'))
    latest = find_latest_checkpoint(str(work_dir))
    if len(configs) != 1 or latest is None:
        raise InputError(
            f'{work_dir}: has {len(configs)} configs, and {"no" if latest is None else "a"} last_checkpoint; give the '
            'work_dir that one training has left'
        )
    # The folder may have been moved since.
    file = work_dir / Path(latest).name
    checkpoint = CheckpointLoader.load_checkpoint(str(file), 'cpu', logger='silent')
    config = Config.fromfile(configs[0])
    check_end(work_dir, config.train_cfg, checkpoint['meta'])
    config.randomness = dict(seed=checkpoint['meta']['seed'])
    config.work_dir = f'work_dirs/{configs[0].stem}'
    scalars = find_scalars(work_dir)
    logs = scalars.parents[1].glob('*.log')
    log = '\n'.join(log.read_text() for log in logs)
    return Training(configs[0].stem, config, checkpoint, scalars, log)


def check_end(work_dir: Path, train_cfg: dict, meta: dict) -> None:
    """Check that a checkpoint is the last one of its training.

    Raises:
        InputError: It is not.
    """
    unit = 'iter' if 'max_iters' in train_cfg else 'epoch'
    end = train_cfg[f'max_{unit}s']
    if meta[unit] < end:
        raise InputError(
            f'{work_dir}: ends with {unit} {meta[unit]} of {end}; let it end (--resume)'
        )


def publish(training: Training, out: Path, machine: str) -> Path:
    """Write the four files; return that of the weights.

    Raises:
        InputError: There are other weights of the same config, which a name could not tell apart.
    """
    content = weights_alone(training)
    stem = f'{training.name}-{digest(content)}'
    others = [file.name for file in weights_of(training.name, out) if file.stem != stem]
    if others:
        raise InputError(f'{out}: already has {others[0]}; delete what belongs to it first')
    out.mkdir(parents=True, exist_ok=True)
    file = out / f'{stem}.pth'
    file.write_bytes(content)
    training.config.dump(file.with_suffix('.py'))
    shutil.copyfile(training.scalars, file.with_suffix('.json'))
    file.with_suffix('.md').write_text(model_card(training, content, machine))
    return file


def weights_alone(training: Training) -> bytes:
    """Return a checkpoint without the states of optimizer, schedule and log."""
    meta = training.checkpoint['meta']
    kept = {key: meta[key] for key in ('epoch', 'iter', 'seed', 'dataset_meta')}
    kept['cfg'] = training.config.pretty_text
    weights = dict(training.checkpoint['state_dict'])  # without the versions of modules
    file = io.BytesIO()
    torch.save(dict(meta=kept, state_dict=weights), file)
    return file.getvalue()


def model_card(training: Training, content: bytes, machine: str) -> str:
    """Return the model card of weights."""
    config, meta = training.config, training.checkpoint['meta']
    weights = training.checkpoint['state_dict'].values()
    pretrained = sorted(first_weights(config.to_dict()))
    licence = f'{LICENCE}; that of the first weights beside it' if pretrained else LICENCE
    return Template(CARD.read_text()).substitute(
        name=training.name,
        stem=f'{training.name}-{digest(content)}',
        size=f'{len(content) / 2**20:.1f}',
        sha256=hashlib.sha256(content).hexdigest(),
        model=config.model.type.removeprefix('mmdet_setdet.'),
        parameters=f'{sum(weight.numel() for weight in weights) / 1e6:.1f}',
        first_weights=', '.join(pretrained) or 'random',
        seed=meta['seed'],
        steps=meta['iter'],
        batch_size=config.train_dataloader.batch_size,
        training_data=data_set(config.train_dataloader),
        test_data=data_set(config.test_dataloader),
        classes=', '.join(meta['dataset_meta']['classes']),
        time=duration(training.log),
        machine=machine,
        versions=versions(training.log),
        licence=licence,
        results=results(training.scalars),
    )


def first_weights(part: object) -> Iterator[str]:
    """Iterate over the checkpoints that a part of a config starts from."""
    if isinstance(part, dict):
        if part.get('load_from'):
            yield part['load_from']
        if part.get('type') == 'Pretrained':
            yield part['checkpoint']
        part = part.values()
    elif not isinstance(part, (list, tuple)):
        return
    for value in part:
        yield from first_weights(value)


def data_set(loader: dict) -> str:
    """Return a data set's type and what says which images it has."""
    dataset = loader['dataset']
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    kind, *others = (f'{key} {dataset[key]}' for key in DATA if key in dataset)
    return ', '.join([kind.removeprefix('type '), *others])


def duration(log: str) -> str:
    """Return the time between the first and the last line of a log."""
    times = [datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in TIME.findall(log)]
    return str(max(times) - min(times)) if times else 'unknown'


def versions(log: str) -> str:
    """Return the versions in a log, and that of this package now."""
    found = []
    for name in NOTED:
        noted = re.search(rf'^ +{name}: (\S+)', log, re.MULTILINE)
        if noted:
            found.append(f'{name} {noted[1]}')
    return ', '.join([*found, f'published by mmdet_setdet {mmdet_setdet.__version__}'])


def results(scalars: Path) -> str:
    """Return a table of the last evaluation, in Markdown, without -1 and NaN, of which there are no objects."""
    records = map(json.loads, scalars.read_text().splitlines())
    evaluations = [record for record in records if any('/' in key for key in record)]
    if not evaluations:
        return 'It has not been evaluated.'
    rows = ['| metric | |', '|---|---|']
    for key, value in evaluations[-1].items():
        if '/' in key and value >= 0:
            rows.append(f'| {key} | {value:.3f} |')
    return '\n'.join(rows)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Publish as the command line says; return the files of the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path, nargs='+', help='what a training has left')
    parser.add_argument('--out', type=Path, default=Path('dist'), help='default: dist')
    parser.add_argument(
        '--machine', required=True, help="what they were trained on, e.g. '2 CPU cores'"
    )
    args = parser.parse_args(argv)
    if not args.machine.strip():
        parser.error('--machine: say what they were trained on')
    files = []
    for work_dir in args.work_dir:
        files.append(publish(read_training(work_dir), args.out, args.machine))
        print(f'{work_dir} -> {files[-1]}: {files[-1].stat().st_size / 2**20:.1f} MiB')
    return files


if __name__ == '__main__':
    run(main)
