#!/usr/bin/env python
"""Measure how near OTA's Sinkhorn plans come to the exact ones, over eps and iterations.

The problems are those of generated images with half-learned predictions, small enough for linear programming. The table
has means over all images: the plan's cost above the optimum (`gap`), the largest relative error of the mass that a
prediction receives (`error`), predictions whose object differs from the exact plan's (`labels`), by how many
predictions an object misses its k (`stray`), and the time of the solver (`ms`, CPU time).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mmdet_setdet.engine.command_line import run
from mmdet_setdet.errors import InputError
from mmdet_setdet.models.assignment import OTAAssigner, TransportProblem, exact_transport
from mmdet_setdet.models.ground_truths import GroundTruths

TOOLS = Path(__file__).resolve().parents[1]
if not (TOOLS / 'benchmarks').is_dir():
    raise SystemExit(
        'error: the generated problems are not part of an installed mmdet_setdet: clone the repository, '
        'in which tools/benchmarks lies, and run its tools/analysis_tools/transport_quality.py'
    )
sys.path.insert(0, str(TOOLS))

from benchmarks.ota_scenes import scene  # noqa: E402


class Quality(NamedTuple):
    """One line of the table: percent, share, predictions, predictions, milliseconds."""

    gap: float
    error: float
    labels: float
    stray: float
    ms: float


def build_problems(images: int, objects: int, size: tuple[int, int]) -> list[TransportProblem]:
    """Return the problems of generated images, as the assigner builds them."""
    problems = []
    for seed in range(images):
        image = scene([objects], size, seed=seed)
        gts = GroundTruths.from_instances(image.objects)
        problems += OTAAssigner().build_problems(image.logits, image.bboxes, image.priors, gts)
    return problems


def measure(problem: TransportProblem, exact: Tensor, eps: float, iterations: int) -> Quality:
    """Solve one problem and compare with the exact plan, (S, D)."""
    assigner = OTAAssigner(eps=eps, iterations=iterations)
    start = time.process_time()
    transport = assigner.solve(problem)
    seconds = time.process_time() - start
    optimum = (exact * problem.costs[0]).sum()
    cost = (transport.plan[0] * problem.costs[0]).sum()
    labels = assigner.suppliers(problem, transport)[0]
    # The last column stands for all predictions that are not candidates, the last row for the background.
    exact_labels = exact[:, :-1].argmax(0)
    k = labels.bincount(minlength=len(exact))[:-1]
    return Quality(
        gap=100 * (cost / optimum - 1).item(),
        error=transport.error.item(),
        labels=(labels != exact_labels).sum().item(),
        stray=(k - problem.supply[0, :-1]).abs().mean().item(),
        ms=seconds * 1e3,
    )


def main(argv: Sequence[str] | None = None) -> list[list[float]]:
    """Print the table and return its rows: eps, iterations and the five means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--images', type=int, default=8, help='number of images (default: %(default)s)'
    )
    parser.add_argument(
        '--objects', type=int, default=7, help='objects per image (default: %(default)s)'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(400, 608),
        metavar=('H', 'W'),
        help='size of the images',
    )
    parser.add_argument(
        '--eps', type=float, nargs='+', default=[1.0, 0.1, 0.01], help='weights of the entropy'
    )
    parser.add_argument(
        '--iterations', type=int, nargs='+', default=[10, 50, 500, 20000], help='maximum numbers'
    )
    args = parser.parse_args(argv)
    smallest = min(args.images, args.objects, *args.size, *args.iterations)
    if smallest < 1:
        raise InputError(f'{smallest}: images, objects, sizes and iterations must be 1 or more')
    if min(args.eps) <= 0:
        raise InputError(f'--eps {min(args.eps)}: must be above 0')
    solved = []
    for problem in build_problems(args.images, args.objects, args.size):
        exact = exact_transport(problem.costs[0], problem.supply[0], problem.demand[0])
        solved.append((problem, exact))
    columns = sum(exact.shape[1] for _, exact in solved) / len(solved)
    print(f'{args.images} images, {args.objects} objects, {columns:.0f} columns on average')
    print(
        f'{"eps":>6} {"iterations":>10} {"gap %":>8} {"error":>8} {"labels":>7} {"stray":>6} {"ms":>8}'
    )
    rows = []
    for eps in args.eps:
        for iterations in args.iterations:
            results = [measure(problem, exact, eps, iterations) for problem, exact in solved]
            means = [sum(values) / len(values) for values in zip(*results)]
            print(
                '{:6g} {:10d} {:8.2f} {:8.1e} {:7.1f} {:6.2f} {:8.1f}'.format(
                    eps, iterations, *means
                )
            )
            rows.append([eps, iterations, *means])
    return rows


if __name__ == '__main__':
    run(main)
