#!/usr/bin/env python
"""How near OTA's Sinkhorn plans come to the exact ones, over eps and iterations.

The problems are those of generated images with half-learnt predictions, small enough for linear programming. Printed
are means over all images: the plan's cost above the optimum (`gap`), the largest relative error of what a prediction
gets (`error`), predictions whose object is not that of the exact plan (`labels`), how many predictions more or less
than k an object gets (`stray`), and the time of the solver (`ms`, CPU time).
"""
import argparse
import time

from torch import Tensor

from mmdet_setdet.benchmark.ota_scenes import scene
from mmdet_setdet.models.assignment import OTAAssigner, TransportProblem, exact_transport
from mmdet_setdet.models.ground_truths import GroundTruths


def build_problems(images: int, objects: int, size: tuple[int, int]) -> list[TransportProblem]:
    """Return the transport problem of each image, as the assigner builds it."""
    problems = []
    for seed in range(images):
        image = scene([objects], size, seed=seed)
        gts = GroundTruths.from_instances(image.objects)
        problems += OTAAssigner().build_problems(image.logits, image.bboxes, image.priors, gts)
    return problems


def measure(problem: TransportProblem, exact: Tensor, eps: float, iterations: int) -> list[float]:
    """Return the five columns of the table for one problem, whose exact plan is known."""
    assigner = OTAAssigner(eps=eps, iterations=iterations)
    start = time.process_time()
    transport = assigner.solve(problem)
    milliseconds = (time.process_time() - start) * 1e3
    labels = assigner.suppliers(problem, transport)[0]
    optimum = (exact * problem.costs[0]).sum()
    gap = (transport.plan[0] * problem.costs[0]).sum() / optimum - 1
    counts = labels.bincount(minlength=len(exact))[:-1]
    stray = (counts - problem.supply[0, :-1]).abs().mean()
    # The last column is all predictions that are not candidates.
    differing = (labels != exact[:, :-1].argmax(0)).sum()
    return [100 * gap.item(), transport.error.item(), differing.item(), stray.item(), milliseconds]


def main(argv=None) -> list[list[float]]:
    """Prints the table and returns its rows: eps, iterations and the five means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=8, help='number of images (default 8)')
    parser.add_argument('--objects', type=int, default=7, help='objects in each (default 7)')
    parser.add_argument('--size', type=int, nargs=2, default=(400, 608), metavar=('H', 'W'), help='of the images')
    parser.add_argument('--eps', type=float, nargs='+', default=[1., 0.1, 0.01], help='weights of the entropy')
    parser.add_argument('--iterations', type=int, nargs='+', default=[10, 50, 500, 20000], help='at most so many')
    args = parser.parse_args(argv)
    problems = build_problems(args.images, args.objects, args.size)
    solved = [(problem, exact_transport(problem.costs[0], problem.supply[0], problem.demand[0]))
              for problem in problems]
    columns = sum(problem.costs.shape[2] for problem in problems) / len(problems)
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
