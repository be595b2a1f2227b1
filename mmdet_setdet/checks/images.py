"""Checks of image files and label maps while they are loaded."""

from collections.abc import Callable

import cv2
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from PIL import Image

from ..errors import InputError, one_line

JPEG_START = b'\xff\xd8'
JPEG_END = b'\xff\xd9'
PNG_START = b'\x89PNG'
PNG_END = b'IEND\xaeB`\x82'


class CheckedLoad:
    """A loader of images or label maps that names a file which is missing, not an image, or cut short.

    For a JPEG that ends early OpenCV returns a picture with a grey lower part and no error. So a file that does not
    end as its format demands is decoded once more by Pillow, which notices; for all others two short reads suffice.

    Args:
        load (LoadImageFromFile | LoadAnnotations): The loader.
    """

    def __init__(self, load: LoadImageFromFile | LoadAnnotations) -> None:
        self.load = load
        if isinstance(load, LoadImageFromFile):
            self.key = 'img_path'
            self.kind = 'image'
        else:
            self.key = 'seg_map_path'
            self.kind = 'label map'

    def __call__(self, results: dict) -> dict:
        path = results[self.key]
        if path is None:
            return self.load(results)
        try:
            loaded = self.load(results)
        except FileNotFoundError as error:
            raise InputError(
                f'{path}: no such {self.kind} file; check data_root and data_prefix of the data set'
            ) from error
        except InputError:
            raise
        except Exception as error:
            raise InputError(f'{path}: not a readable {self.kind} ({one_line(error)})') from error
        is_on_disk = (self.load.backend_args is None) and ('://' not in path)
        if loaded is not None and is_on_disk:
            check_whole(path)
        if loaded is not None and self.kind == 'image':
            _check_size(loaded)
        return loaded

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.load!r})'


def _check_size(results: dict) -> None:
    """Compare the size of a loaded image with that of its annotations, for whose pixels the boxes are meant.

    Raises:
        InputError: They differ.
    """
    height, width = results['img_shape']
    annotated = results.get('width', width), results.get('height', height)
    if annotated == (width, height):
        return
    hint = 'correct the annotations'
    if annotated == (height, width):
        hint = f'its EXIF orientation turns it, or the two are swapped: save it turned, or {hint}'
    raise InputError(
        f'{results["img_path"]}: is {width} x {height} pixels, but its annotations are for '
        f'{annotated[0]} x {annotated[1]}; {hint}'
    )


class CheckedTransform:
    """A transform of images that names the image of which OpenCV or Pillow can make nothing.

    For example one of 4000 x 1 pixels, resized to 640 x 0.

    Args:
        transform (Callable): The transform, which takes and returns a dict.
    """

    def __init__(self, transform: Callable[[dict], dict | None]) -> None:
        self.transform = transform

    def __call__(self, results: dict) -> dict | None:
        try:
            return self.transform(results)
        except (cv2.error, ValueError) as error:
            is_of_pillow = 'must be > 0' in str(error)
            if not isinstance(error, cv2.error) and not is_of_pillow:
                raise
            height, width = results['ori_shape']
            name = type(self.transform).__name__
            raise InputError(
                f'{results["img_path"]}: {width} x {height} pixels, with which {name} cannot work '
                f'({one_line(error)}); take it out of the annotations'
            ) from error

    def __repr__(self) -> str:
        return repr(self.transform)


def check_whole(path: str) -> None:
    """Check that a JPEG or PNG file is complete; files of other formats pass.

    Raises:
        InputError: The file is cut short.
    """
    if not _has_unusual_end(path):
        return
    try:
        with Image.open(path) as image:
            image.load()
    except OSError as error:
        raise InputError(
            f'{path}: cut short ({error}); fetch it again, or take it out of the annotations'
        ) from error


def _has_unusual_end(path: str) -> bool:
    """Whether a JPEG or PNG file does not end as its format demands: cut short, or with extra bytes at the end."""
    longest = len(PNG_END)
    with open(path, 'rb') as file:
        start = file.read(longest)
        size = file.seek(0, 2)
        file.seek(max(size - longest, 0))
        end = file.read()
    if start.startswith(JPEG_START):
        return not end.endswith(JPEG_END)
    if start.startswith(PNG_START):
        return not end.endswith(PNG_END)
    return False
