#!/usr/bin/env python
"""How near OTA's Sinkhorn plans come to the exact ones, over eps and iterations.

The problems are those of generated images with half-learnt predictions, small enough for linear programming. Printed
are means over all images: the plan's cost above the optimum (`gap`), the largest relative error of what a prediction
gets (`error`), predictions whose object is not that of the exact plan (`labels`), how many predictions more or less
than k an object gets (`stray`), and the time of the solver (`ms`, CPU time).
"""
import argparse
import time
from unittest import mock

from torch import Tensor

from mmdet_setdet.benchmark.ota_scenes import scene
from mmdet_setdet.models.assignment import OTAAssigner, exact_transport, ota, sinkhorn
from mmdet_setdet.models.assignment.optimal_transport import decode


def problems(images: int, objects: int, size: tuple[int, int]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Costs (1, S, D), supply (1, S) and demand (1, D) of the images, as the assigner makes them."""
    found = []
    with mock.patch.object(ota, 'sinkhorn', lambda *args: found.append(args[:3]) or sinkhorn(*args)):
        for seed in range(images):
            image = scene([objects], size, seed=seed)
            OTAAssigner().assign_batch(image.logits, image.bboxes, image.priors, image.objects)
    return found


def measure(problem: tuple[Tensor, Tensor, Tensor], exact: Tensor, eps: float, iterations: int) -> list[float]:
    """What a row of the table says, for one problem."""
    costs, supply, demand = problem
    start = time.process_time()
    found = sinkhorn(*problem, eps, iterations)
    milliseconds = (time.process_time() - start) * 1e3
    # The last column is all predictions that no object may take.
    labels = decode(found.plan / demand.clamp(min=1)[:, None])[0, :-1]
    optimum = (exact * costs[0]).sum()
    gap = (found.plan[0] * costs[0]).sum() / optimum - 1
    got = labels.bincount(minlength=len(exact))[:-1]
    stray = (got - supply[0, :-1]).abs().mean()
    return [100 * gap.item(), found.error.item(), (labels != exact[:, :-1].argmax(0)).sum().item(), stray.item(),
            milliseconds]


def main(argv=None) -> list[list[float]]:
    """Prints the table and returns its rows: eps, iterations and the five means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=8, help='number of images (default 8)')
    parser.add_argument('--objects', type=int, default=7, help='objects in each (default 7)')
    parser.add_argument('--size', type=int, nargs=2, default=(400, 608), metavar=('H', 'W'), help='of the images')
    parser.add_argument('--eps', type=float, nargs='+', default=[1., 0.1, 0.01], help='weights of the entropy')
    parser.add_argument('--iterations', type=int, nargs='+', default=[10, 50, 500, 20000], help='at most so many')
    args = parser.parse_args(argv)
    solved = [(problem, exact_transport(*(part[0] for part in problem)))
              for problem in problems(args.images, args.objects, args.size)]
    columns = sum(problem[0].shape[2] for problem, _ in solved) / len(solved)
    print(f'{args.images} images, {args.objects} objects, {columns:.0f} columns on average')
    print(f'{"eps":>6} {"iterations":>10} {"gap %":>8} {"error":>8} {"labels":>7} {"stray":>6} {"ms":>8}')
    rows = []
    for eps in args.eps:
        for iterations in args.iterations:
            results = [measure(problem, exact, eps, iterations) for problem, exact in solved]
            means = [sum(values) / len(values) for values in zip(*results)]
            print('{:6g} {:10d} {:8.2f} {:8.1e} {:7.1f} {:6.2f} {:8.1f}'.format(eps, iterations, *means))
            rows.append([eps, iterations, *means])
    return rows


if __name__ == '__main__':
    main()
