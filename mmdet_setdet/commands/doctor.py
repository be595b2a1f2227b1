"""``setdet doctor``: is a folder of annotated images fit to train on, and what is in it?"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from mmengine.utils import track_iter_progress

from ..checks import check_annotations
from ..datasets.folders import AnnotatedFolder, read_folder
from ..runtime import Detections
from ..runtime.draw import draw
from ..runtime.images import read_image
from ..runtime.resizing import resize

EXAMPLES = """examples:
  setdet doctor my_images
  setdet doctor my_images/data.yaml --out my_images.png
"""
SIDE = 4  # the picture shows SIDE x SIDE images
PIXELS = 320  # longer side of each
NAMED_CLASSES = 10  # in the text
MOST_CLASSES = 30  # in the histogram


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='setdet doctor',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'data', help='folder in the format of COCO, YOLO or Pascal VOC, or a data.yaml'
    )
    parser.add_argument('--out', type=Path, default=Path('doctor.png'), help='picture to write')
    return parser


def main(argv: Sequence[str] | None = None) -> AnnotatedFolder:
    """Examine as the command line says; return what was found."""
    args = make_parser().parse_args(argv)
    data = read_folder(args.data)
    for name, coco in data.splits.items():
        check_annotations(coco, f'{args.data} ({name})')
    files = {image['file_name'] for coco in data.splits.values() for image in coco['images']}
    for file in track_iter_progress(sorted(files)):
        read_image(data.folder / file)
    print('\n' + describe(data))
    save_picture(data, args.out)
    print(f'images and classes: {args.out}')
    return data


def describe(data: AnnotatedFolder) -> str:
    """Return the text that says what a folder holds."""
    names = ', '.join(data.classes[:NAMED_CLASSES])
    more = ', ...' if len(data.classes) > NAMED_CLASSES else ''
    lines = [
        f'{data.kind} folder {data.folder}',
        f'  classes ({len(data.classes)}): {names}{more}',
    ]
    for name, coco in data.splits.items():
        images, annotations = coco['images'], coco['annotations']
        per_image = Counter(note['image_id'] for note in annotations)
        counts = [per_image[image['id']] for image in images]
        boxes = np.array([note['bbox'] for note in annotations] or [[0.0] * 4])
        sides = np.sqrt(boxes[:, 2] * boxes[:, 3])
        widths = [image['width'] for image in images]
        heights = [image['height'] for image in images]
        lines += [
            f'  {name}: {len(images)} images, {len(annotations)} objects',
            f'    images of {min(widths)} to {max(widths)} by {min(heights)} to {max(heights)} pixels',
            f'    {counts.count(0)} images without objects; at most {max(counts)}, on average '
            f'{np.mean(counts):.1f} objects in one',
            f'    objects of {sides.min():.0f} to {sides.max():.0f} pixels, half of them below '
            f'{np.median(sides):.0f} (root of the area)',
        ]
    return '\n'.join(lines)


def save_picture(data: AnnotatedFolder, file: Path) -> None:
    """Draw up to sixteen images of the first split with their boxes, and the number of objects of each class."""
    matplotlib.use('agg')
    figure = Figure(figsize=(14, 9), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    coco = next(iter(data.splits.values()))
    picked = np.linspace(0, len(coco['images']) - 1, SIDE**2).round().astype(int)
    axes = left.subplots(SIDE, SIDE).ravel()
    for axis in axes:
        axis.axis('off')
    for axis, index in zip(axes, np.unique(picked)):
        image = coco['images'][index]
        axis.imshow(_annotated(data, coco, image))
        axis.set_title(Path(image['file_name']).name[-24:], fontsize=7)
    _draw_histogram(data, right.subplots())
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _annotated(data: AnnotatedFolder, coco: dict, image: dict) -> np.ndarray:
    indices = {category['id']: index for index, category in enumerate(coco['categories'])}
    notes = [note for note in coco['annotations'] if note['image_id'] == image['id']]
    boxes = np.array([note['bbox'] for note in notes], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([indices[note['category_id']] for note in notes], dtype=np.int64)
    pixels = read_image(data.folder / image['file_name'])
    height, width = pixels.shape[:2]
    factor = PIXELS / max(height, width)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    found = Detections(boxes * factor, np.ones(len(notes), np.float32), labels, data.classes)
    return np.asarray(draw(resize(pixels, size, 'bilinear'), found, with_scores=False))


def _draw_histogram(data: AnnotatedFolder, axis) -> None:
    counts = {name: Counter() for name in data.splits}
    for name, coco in data.splits.items():
        names = {category['id']: category['name'] for category in coco['categories']}
        counts[name].update(names[note['category_id']] for note in coco['annotations'])
    total = sum(counts.values(), Counter())
    order = sorted(data.classes, key=lambda name: -total[name])[:MOST_CLASSES]
    before = np.zeros(len(order))
    for name, counter in counts.items():
        values = np.array([counter[one] for one in order])
        axis.barh(order, values, left=before, label=name)
        before += values
    axis.invert_yaxis()
    axis.set_xlabel('objects')
    axis.locator_params(axis='x', integer=True)
    axis.legend()
    title = f'classes: {len(data.classes)}'
    if len(order) < len(data.classes):
        title += f', the {len(order)} most frequent'
    axis.set_title(title)
