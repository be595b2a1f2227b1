"""ADE20K in miniature: its folders, file names and labels, generated."""
from pathlib import Path

import cv2
import numpy as np

# Labels as in ADE20K's files, where 0 is "other": wall, building and sky are 1, 2 and 3.
COLOURS = {0: (0, 0, 0), 1: (60, 90, 120), 2: (30, 160, 60), 3: (220, 180, 140)}


def write_ade(root: Path, num_training: int = 4, num_validation: int = 2, size: tuple[int, int] = (48, 64)) -> Path:
    """Writes images/ and annotations/ under ``root``: noisy rectangles of three classes; returns ``root``."""
    random = np.random.default_rng(0)
    height, width = size
    for split, short, count in (('training', 'train', num_training), ('validation', 'val', num_validation)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(1, count + 1):
            labels = np.full(size, 1, dtype=np.uint8)
            for label in (0, 2, 3):
                y, x = random.integers(0, height // 2), random.integers(0, width // 2)
                labels[y:y + height // 3, x:x + width // 3] = label
            image = np.array([COLOURS[label] for label in range(4)], dtype=np.int64)[labels]
            image = (image + random.integers(-20, 21, image.shape)).clip(0, 255).astype(np.uint8)
            name = f'ADE_{short}_{index:08d}'
            cv2.imwrite(str(root / 'images' / split / f'{name}.jpg'), image)
            cv2.imwrite(str(root / 'annotations' / split / f'{name}.png'), labels)
    return root
