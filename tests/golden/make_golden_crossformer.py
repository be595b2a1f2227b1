"""Makes tests/golden/crossformer.npz: what the authors' CrossFormer computes in golden/crossformer_cases.py.

Run by hand, when a case is added. It needs a plain checkout of cheerss/CrossFormer below ``$SETDET_REF``, in the folder
``cheerss+CrossFormer``; timm and mmcv 1, which their code imports, are not needed::

    SETDET_REF=~/checkouts python tests/golden/make_golden_crossformer.py [--large] [--first] [ARCH ...]

Prints how far ours is from theirs in every stage, in the logits at 224 x 224, and in gradients, and the number of
parameters and operations with a classifier. ``--large`` writes nothing and compares at the large sizes. ``--first``,
with the checkout at their branch "crossformer", compares maps alone and makes golden/crossformer_first.npz.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / 'tests'), str(REPOSITORY / 'tools')]
from benchmarks.peers import crossformer_authors as authors  # noqa: E402
from benchmarks.peers.checkouts import find_checkout  # noqa: E402
from golden import crossformer_cases as cases  # noqa: E402


def theirs_like(ours: nn.Module, arch: str, form: str) -> nn.Module:
    """The authors' model with our weights; built for each image, since theirs is changed by small ones."""
    model = authors.build_crossformer(arch, form)
    found = model.load_state_dict(ours.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert not [key for key in found.missing_keys if not key.startswith('head.')]
    return model.eval()


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    return f'{(ours - theirs).abs().max():.1e} of {theirs.abs().max():.3g}'


@torch.no_grad()
def stages(arch: str, sizes, results: dict, form: str = authors.DETECTION, **kwargs) -> None:
    """Maps of all stages at some sizes."""
    ours = cases.build(arch, **kwargs)
    for size in sizes:
        x = cases.images(size, 1 if max(size) > 400 else 2)
        expected = theirs_like(ours, arch, form)(x)
        got = ours(x)
        print(f'{arch} {size[0]}x{size[1]}:', ', '.join(map(difference, got, expected)), flush=True)
        assert max((a - b).abs().max() for a, b in zip(got, expected)) < 1e-4
        for number, stage in enumerate(expected):
            results[f'{cases.entry(arch, size)}{number}'] = cases.thinned(stage)


def classification(arch: str, results: dict) -> None:
    """Logits at 224 x 224, parameters and operations."""
    ours = cases.build(arch, out_indices=(3,), final_norm=True)
    theirs = theirs_like(ours, arch, authors.CLASSIFICATION)
    weight, bias = cases.classifier_weights(theirs.head.in_features)
    theirs.head.load_state_dict(dict(weight=weight, bias=bias))
    with torch.no_grad():
        expected, got = theirs(cases.images((224, 224), 1)), cases.logits(ours)
    operations = cases.operations(ours)
    parameters = sum(parameter.numel() for parameter in theirs.parameters())
    own = sum(parameter.numel() for parameter in ours.parameters()) + weight.numel() + bias.numel()
    print(
        f'{arch} logits: {difference(got, expected)}; parameters {own} and {parameters}; '
        f'operations {operations / 1e9:.2f} G, by their own count {theirs.flops() / 1e9:.2f} G',
        flush=True,
    )
    assert own == parameters
    results[f'{arch} parameters'], results[f'{arch} operations'] = (
        np.array(parameters),
        np.array(theirs.flops()),
    )
    if arch in cases.CLASSIFIED:
        results[f'{arch} logits'] = cases.thinned(expected, 100)


def gradients(results: dict) -> None:
    """Of a loss on all maps."""
    arch, size = cases.GRADIENTS
    ours = cases.build(arch)
    theirs, x = theirs_like(ours, arch, authors.DETECTION), cases.images(size)
    expected = cases.gradients(theirs(x), dict(theirs.named_parameters()))
    got = cases.gradients(ours(x), dict(ours.named_parameters()))
    for name, gradient in expected.items():
        print(f'{arch} gradient of {name}: {difference(got[name], gradient)}')
        results[f'gradient of {name}'] = cases.thinned(gradient)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archs', nargs='*', choices=[*cases.ARCHS, []], help='all unless named')
    parser.add_argument('--large', action='store_true')
    parser.add_argument('--first', action='store_true')
    args = parser.parse_args()
    results = {}
    if args.first:
        for arch in args.archs or ['small']:
            sizes = cases.LARGE_SIZES if args.large else cases.FIRST_SIZES
            stages(arch, sizes, results, authors.FIRST_DETECTION, attention='short-long-map')
    else:
        for arch in args.archs or cases.ARCHS:
            stages(arch, cases.LARGE_SIZES if args.large else cases.SIZES, results)
            classification(arch, results)
        gradients(results)
    if not args.large and not args.archs:
        command = ['git', '-C', str(find_checkout('crossformer')), 'rev-parse', 'HEAD']
        revision = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
        results['revision'] = np.array(revision)
        np.savez_compressed(cases.FIRST_FILE if args.first else cases.FILE, **results)


if __name__ == '__main__':
    main()
