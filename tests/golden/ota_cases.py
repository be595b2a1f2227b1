"""Batches for which OTA's authors' assignment is kept in ota.npz (see make_golden_ota.py), five levels at 800x1216."""

from pathlib import Path

import numpy as np
from benchmarks.ota_scenes import Scene, scene

COUNTS = [0, 1, 7, 30, 60]
CASES = {'realistic': dict(realistic=True, seed=3), 'random': dict(realistic=False, seed=4)}
FILE = Path(__file__).with_name('ota.npz')


def scene_of(case: str) -> Scene:
    """An image for each of COUNTS, with so many objects."""
    return scene(COUNTS, **CASES[case])


def load(case: str) -> list[dict[str, np.ndarray]]:
    """What the authors' code found in each image of a case.

    ``at``, ``labels``, ``distances`` and ``ious`` of the predictions that got an object; ``k`` of the objects;
    ``plan_pair`` (object, prediction) and ``plan`` of all pairs with more than 0.001 units.
    """
    with np.load(FILE) as arrays:
        return [
            {
                key.split('/')[2]: value
                for key, value in arrays.items()
                if key.startswith(f'{case}/{image}/')
            }
            for image in range(len(COUNTS))
        ]
