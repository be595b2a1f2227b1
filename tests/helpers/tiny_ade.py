"""ADE20K in miniature: its folders, file names and labels, generated."""

from pathlib import Path

import cv2
import numpy as np

# Labels as in ADE20K's files, where 0 is "other": wall, building and sky are 1, 2 and 3.
COLOURS = [
    (0, 0, 0),
    (60, 90, 120),
    (30, 160, 60),
    (220, 180, 140),
]


def write_ade(
    root: Path,
    num_training: int = 4,
    num_validation: int = 2,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """Write images/ and annotations/ under ``root``, noisy rectangles of three classes; return ``root``."""
    random = np.random.default_rng(0)
    splits = [
        ('training', 'train', num_training),
        ('validation', 'val', num_validation),
    ]
    for split, short, count in splits:
        image_folder = root / 'images' / split
        label_folder = root / 'annotations' / split
        image_folder.mkdir(parents=True)
        label_folder.mkdir(parents=True)
        for index in range(1, count + 1):
            labels = random_labels(size, random)
            name = f'ADE_{short}_{index:08d}'
            cv2.imwrite(str(image_folder / f'{name}.jpg'), paint(labels, random))
            cv2.imwrite(str(label_folder / f'{name}.png'), labels)
    return root


def random_labels(size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return a label map (H, W) of rectangles of label 0, 2 and 3 on label 1."""
    height, width = size
    labels = np.full(size, 1, dtype=np.uint8)
    for label in (0, 2, 3):
        y = random.integers(0, height // 2)
        x = random.integers(0, width // 2)
        labels[y : y + height // 3, x : x + width // 3] = label
    return labels


def paint(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the image (H, W, 3) of a label map, with noise."""
    image = np.array(COLOURS, dtype=np.int64)[labels]
    noise = random.integers(-20, 21, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)
