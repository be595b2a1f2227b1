#!/usr/bin/env python
"""Draw where the queries of a DETR look in an image, and where the tokens of its encoder look."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmdet_setdet  # noqa: F401  (before the stack, whose import messages it leaves out)

# isort: split
import numpy as np
from mmengine.registry import init_default_scope

from mmdet_setdet.datasets.pipelines import array_pipeline
from mmdet_setdet.engine.command_line import add_config_options, load_config, run
from mmdet_setdet.engine.models import build_model
from mmdet_setdet.errors import InputError
from mmdet_setdet.export.describe import class_names
from mmdet_setdet.runtime.images import read_image
from mmdet_setdet.visualization.attention import (
    Look,
    check_attention,
    draw_points,
    draw_queries,
    look,
)

MOST = 11  # panels of a sheet that nobody has asked for one by one


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('images', nargs='+', metavar='image', help='picture files')
    parser.add_argument(
        '--out-dir',
        help='where IMAGE_decoder.png and IMAGE_encoder.png go (default: work_dirs/NAME_OF_CONFIG)',
    )
    parser.add_argument(
        '--queries',
        nargs='+',
        default=['best'],
        metavar='N',
        help=f'numbers of queries, from 0 on, or "best" for the best {MOST} above --score (default: best)',
    )
    parser.add_argument(
        '--score', type=float, default=0.3, help='least score of the best (default: %(default)s)'
    )
    parser.add_argument(
        '--points',
        nargs='+',
        type=parse_point,
        default=[],
        metavar='X,Y',
        help="points in pixels of the image, where tokens look from (default: the centres of the queries' boxes)",
    )
    parser.add_argument(
        '--layer',
        type=int,
        default=-1,
        help='of the encoder and of the decoder, from 0 on; negative numbers count from the end (default: the last)',
    )
    add_config_options(parser, 'settings of the config to replace')
    return parser.parse_args(argv)


def parse_point(text: str) -> tuple[float, float]:
    """Parse 'X,Y'."""
    try:
        x, y = map(float, text.split(','))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r}: give X,Y in pixels, e.g. 120,80') from error
    return x, y


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Draw as the command line says, and return the pictures."""
    args = parse_args(argv)
    images = {Path(path): read_image(path) for path in args.images}
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = build_model(cfg.model, args.checkpoint).eval()
    check_attention(model, args.layer)
    classes = class_names(model, cfg)
    pipeline = array_pipeline(cfg)
    pictures = []
    for path, image in images.items():
        # mmdet's pipeline expects blue, green, red.
        packed = pipeline(dict(img=image[..., ::-1], img_id=0))
        seen = look(model, packed, classes, args.layer)
        queries = choose_queries(seen, args, path)
        points = choose_points(seen, queries, args.points, image, path)
        print(path, *map(seen.describe, queries), sep='\n  ')
        layer = 'last layer' if args.layer == -1 else f'layer {args.layer}'
        title = (
            f'{path.name}: {Path(args.config).stem}, {Path(args.checkpoint).name}, {layer} of the'
        )
        decoder, encoder = (
            Path(args.out_dir or cfg.work_dir, f'{path.stem}_{part}.png')
            for part in ('decoder', 'encoder')
        )
        draw_queries(image, seen, queries, f'{title} decoder', decoder)
        draw_points(image, seen, points, queries, f'{title} encoder', encoder)
        print(f'picture={decoder}\npicture={encoder}')
        pictures += [decoder, encoder]
    return pictures


def choose_queries(seen: Look, args: argparse.Namespace, path: Path) -> list[int]:
    """Return the queries that the command line asks for.

    Raises:
        InputError: There is no such query, or none above the score.
    """
    if args.queries == ['best']:
        queries = seen.best_queries(args.score, MOST)
        if not queries:
            raise InputError(
                f'{path}: no query has a score of {args.score:g} or more, the best has {seen.scores.max():.2f}; '
                'lower --score, or name queries by --queries'
            )
        return queries
    count = len(seen.scores)
    wrong = [text for text in args.queries if not (text.isdigit() and int(text) < count)]
    if wrong:
        raise InputError(
            f'--queries {" ".join(wrong)}: give "best", or numbers from 0 to {count - 1}'
        )
    return [int(text) for text in args.queries]


def choose_points(
    seen: Look, queries: Sequence[int], points: Sequence[tuple], image: np.ndarray, path: Path
) -> np.ndarray:
    """Return the points that the command line asks for, or the centres of boxes, as shares of the image, (N, 2).

    Raises:
        InputError: A point is outside of the image.
    """
    if not points:
        return seen.centres(queries)
    size = np.array(image.shape[1::-1])
    for x, y in points:
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            raise InputError(
                f'--points {x:g},{y:g}: outside of {path}, which has {size[0]} x {size[1]} pixels'
            )
    return np.array(points) / size


if __name__ == '__main__':
    run(main)
