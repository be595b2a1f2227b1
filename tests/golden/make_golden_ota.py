"""Write tests/golden/ota.npz: what the assignment of OTA's authors finds for the batches of tests/golden/ota_cases.py.

Wants a plain checkout of Megvii-BaseDetection/OTA in the folder ``Megvii-BaseDetection+OTA`` under ``$SETDET_REF``:

    SETDET_REF=~/checkouts python tests/golden/make_golden_ota.py
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / 'tests'), str(REPOSITORY), str(REPOSITORY / 'tools')]

from benchmarks.ota_scenes import STRIDES  # noqa: E402
from benchmarks.peers.checkouts import find_checkout  # noqa: E402
from benchmarks.peers.ota_authors import AuthorsOTA  # noqa: E402
from golden import ota_cases  # noqa: E402


def main() -> None:
    """Runs the authors' code on every image of every case."""
    path = find_checkout('ota')
    if path is None:
        raise SystemExit('set SETDET_REF to a folder with a checkout Megvii-BaseDetection+OTA')
    revision = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=path, capture_output=True, text=True, check=True
    )
    arrays = {'revision': np.array(revision.stdout.strip())}
    for case in ota_cases.CASES:
        scene = ota_cases.scene_of(case)
        for image in range(len(ota_cases.COUNTS)):
            authors = AuthorsOTA(80, STRIDES)
            labels, distances, ious = authors.targets_of_scene(scene, [image])
            [(supply, _, _, plan)] = authors.problems
            at = (labels < 80).nonzero()[:, 0]
            pair = (plan[:-1] > 1e-3).nonzero()
            found = dict(
                at=at.int(),
                labels=labels[at].to(torch.uint8),
                distances=distances[at],
                ious=ious[at, 0],
                k=supply[:-1].int(),
                plan_pair=pair.int(),
                plan=plan[pair[:, 0], pair[:, 1]],
            )
            for key, value in found.items():
                value = value.numpy()
                arrays[f'{case}/{image}/{key}'] = (
                    value.round(6) if value.dtype == np.float32 else value
                )
            print(f'{case}: {ota_cases.COUNTS[image]} objects, {len(at)} predictions')
    np.savez_compressed(ota_cases.FILE, **arrays)


if __name__ == '__main__':
    main()
