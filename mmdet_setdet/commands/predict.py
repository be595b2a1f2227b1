"""``setdet predict``: detect objects in pictures, videos and what a camera sees."""

import argparse
import csv
import glob
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..runtime import Detections, Detector
from ..runtime.addresses import file_name, is_address
from ..runtime.draw import draw
from ..runtime.images import IMAGE_ENDINGS, read_image

EXAMPLES = """examples:
  setdet predict model.onnx photo.jpg
  setdet predict model.onnx photos/ 'more/*.png' --score 0.5 --json results.json
  setdet predict model.onnx https://example.com/photo.jpg
  setdet predict model.onnx film.mp4 --every 10 --csv boxes.csv
  setdet predict configs/dn_detr_r50_50e.py photos/ --checkpoint dn_detr_r50.pth
  SETDET_WEIGHTS=weights setdet predict dn_detr_r18_shapes photos/     weights/dn_detr_r18_shapes-1a2b3c4d.pth
"""
VIDEOS = {'.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v'}
COLUMNS = ('image', 'class', 'score', 'x1', 'y1', 'x2', 'y2')


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='setdet predict',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        help='exported model (.onnx, .xml), config with --checkpoint, or name of a config whose weights are in the '
        'folder of SETDET_WEIGHTS',
    )
    parser.add_argument(
        'sources',
        nargs='+',
        help='picture, its address (https://...), folder, pattern, video, or the number of a camera',
    )
    parser.add_argument('--checkpoint', help='weights for a config')
    parser.add_argument('--score', type=float, default=0.3, help='least score (default: 0.3)')
    parser.add_argument('--out', type=Path, default=Path('predictions'), help='folder for pictures')
    parser.add_argument('--no-pictures', action='store_true', help='draw nothing')
    parser.add_argument(
        '--json', type=Path, help="write COCO's results, and the images beside them"
    )
    parser.add_argument('--csv', type=Path, help='write a table of boxes')
    parser.add_argument('--every', type=int, default=1, help='of a video: only every N-th frame')
    parser.add_argument(
        '--frames', type=int, help='of a video or camera: stop after so many frames'
    )
    parser.add_argument('--threads', type=int, help='threads of an exported model')
    return parser


def main(argv: Sequence[str] | None = None) -> list[tuple[str, Detections]]:
    """Predict as the command line says; return the name and the detections of each picture."""
    args = make_parser().parse_args(argv)
    detect = _detector(args)
    pictures = list(_pictures(args.sources))
    if not pictures:
        raise InputError(f'{" ".join(args.sources)}: no pictures and no videos there')
    results = []
    for name, image in _progress(_frames(pictures, args), len(pictures)):
        found = detect(image, args.score)
        results.append((name, found, image.shape[:2]))
        if not args.no_pictures:
            file = args.out / name
            file.parent.mkdir(parents=True, exist_ok=True)
            draw(image, found).save(file)
    if args.json:
        args.json.write_text(json.dumps(_coco(results)))
    if args.csv:
        _write_table(args.csv, results)
    total = sum(len(found) for _, found, _ in results)
    where = '' if args.no_pictures else f'; pictures in {args.out}'
    print(f'{total} objects above {args.score:g} in {len(results)} pictures{where}')
    return [(name, found) for name, found, _ in results]


def _detector(args: argparse.Namespace) -> Callable[[np.ndarray, float], Detections]:
    if Path(args.model).suffix in ('.onnx', '.xml'):
        return Detector(args.model, args.threads)
    if not args.checkpoint and Path(args.model).suffix:
        raise InputError(f'{args.model}: a config needs --checkpoint, the trained weights')
    from ..set_detector import SetDetector

    checkpoint = args.checkpoint or args.model  # found by the name of the config
    return SetDetector.from_config(args.model, checkpoint=checkpoint).predict


def _pictures(sources: Sequence[str]) -> Iterator[tuple[Path | str | int, Path]]:
    """Iterate over files, addresses and cameras, each with the name of its results."""
    for source in sources:
        path = Path(source)
        if source.isdigit():
            yield int(source), Path(f'camera{source}.jpg')
        elif is_address(source):
            yield source, _name_at(source)
        elif path.is_dir():
            files = sorted(file for file in path.rglob('*') if _is_known(file))
            yield from ((file, file.relative_to(path)) for file in files)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            files = sorted(map(Path, glob.glob(source, recursive=True)))
            if not files:
                raise InputError(f'{source}: no such file, folder or pattern')
            yield from ((file, Path(file.name)) for file in files if _is_known(file))


def _name_at(address: str) -> Path:
    name = Path(file_name(address) or 'picture')
    return name if name.suffix.lower() in IMAGE_ENDINGS else name.with_suffix('.jpg')


def _is_known(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_ENDINGS | VIDEOS


def _frames(
    pictures: Sequence[tuple[Path | str | int, Path]], args: argparse.Namespace
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Iterate over name, image and the number of pictures or videos that are complete with it."""
    taken = set()
    for index, (source, name) in enumerate(pictures):
        while name in taken:
            name = name.with_stem(f'{name.stem}_')
        taken.add(name)
        if isinstance(source, int) or name.suffix.lower() in VIDEOS:
            for number, frame in _video(source, args.every, args.frames):
                yield f'{name.with_suffix("")}_{number:06}.jpg', frame, index
        else:
            yield str(name), read_image(source), index + 1


def _video(source: Path | int, every: int, limit: int | None) -> Iterator[tuple[int, np.ndarray]]:
    try:
        import cv2
    except ModuleNotFoundError:
        raise InputError(
            f'{source}: videos and cameras need OpenCV; pip install opencv-python-headless'
        ) from None
    video = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if not video.isOpened():
        raise InputError(f'{source}: this video or camera cannot be opened')
    number = count = 0
    try:
        while limit is None or count < limit:
            there_is_one, frame = video.read()
            if not there_is_one:
                return
            if number % every == 0:
                count += 1
                yield number, np.ascontiguousarray(frame[..., ::-1])
            number += 1
    finally:
        video.release()


def _progress(
    frames: Iterator[tuple[str, np.ndarray, int]], total: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Show how far it is, on a terminal."""
    shows = sys.stderr.isatty()
    start = time.monotonic()
    for count, (name, image, done) in enumerate(frames, 1):
        yield name, image
        if shows:
            rate = count / (time.monotonic() - start)
            bar = '#' * (30 * done // total)
            print(
                f'\r[{bar:30}] {done}/{total} files, {rate:.1f} pictures/s', end='', file=sys.stderr
            )
    if shows:
        print(file=sys.stderr)


def _coco(results: Sequence[tuple[str, Detections, tuple[int, int]]]) -> dict:
    """The images and their results as a COCO annotation file, with a score per annotation."""
    images, annotations = [], []
    for image_id, (name, found, (height, width)) in enumerate(results, 1):
        images.append(dict(id=image_id, file_name=name, width=width, height=height))
        annotations += found.to_coco(image_id)
    for index, annotation in enumerate(annotations, 1):
        area = annotation['bbox'][2] * annotation['bbox'][3]
        annotation.update(id=index, area=area, iscrowd=0)
    classes = results[0][1].classes
    categories = [dict(id=index, name=name) for index, name in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def _write_table(file: Path, results: Sequence[tuple]) -> None:
    with file.open('w', newline='') as opened:
        table = csv.writer(opened)
        table.writerow(COLUMNS)
        for name, found, _ in results:
            for label, score, box in zip(found.names, found.scores, found.boxes):
                corners = [f'{corner:.1f}' for corner in box]
                table.writerow([name, label, f'{score:.4f}', *corners])
