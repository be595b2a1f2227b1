"""Image files that are damaged or unusual."""

import copy
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.fuzz import Outcome
from helpers.tiny_detector import write_annotations
from PIL import Image

SIZE = 64


def picture(width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Return a picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def train_with(tools, tiny_data):
    """A function that trains with another file in place of image 2, by default annotated with its size."""
    config, root, coco = tiny_data
    file = root / 'images' / '2.jpg'
    original = file.read_bytes()
    added = []

    def train(
        content: bytes, name: str = '2.jpg', width: int = SIZE, height: int = SIZE
    ) -> Outcome:
        spoilt = copy.deepcopy(coco)
        spoilt['images'][1].update(file_name=name, width=width, height=height)
        write_annotations(root, spoilt)
        added.append(root / 'images' / name)
        added[-1].write_bytes(content)
        return tools.run('train', config)

    yield train
    for path in added:
        path.unlink()
    file.write_bytes(original)


@pytest.fixture
def encoded(tmp_path):
    """A function that returns the bytes of a picture in the format of a name."""

    def encode(image: Image.Image, name: str, **options) -> bytes:
        path = Path(tmp_path, name)
        image.save(path, **options)
        return path.read_bytes()

    return encode


@pytest.mark.parametrize('keep', [0, 1, 10, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('name', ['2.jpg', '2.png', '2.bmp'])
def test_truncated(train_with, encoded, expect_good, name, keep):
    content = encoded(picture(), name)
    size = int(keep * len(content)) if keep < 1 else keep
    assert expect_good(train_with(content[:size], name)).kind == 'refused'


@pytest.mark.parametrize('seed', range(12))
def test_flipped_bytes(train_with, encoded, expect_good, seed):
    generator = random.Random(seed)
    name = ('2.jpg', '2.png')[seed % 2]
    content = bytearray(encoded(picture(), name))
    for _ in range(3):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    expect_good(train_with(bytes(content), name))


@pytest.mark.parametrize('content', [b'\0' * 1000, b'text', b'<svg></svg>', b'\xff\xd8', b'GIF89a'])
def test_no_image(train_with, expect_good, content):
    assert expect_good(train_with(content)).kind == 'refused'


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGBA', 'I;16', 'I'])
def test_modes_of_png(train_with, encoded, expect_good, mode):
    grey = picture().convert('L')
    image = grey.convert('I').convert(mode) if mode.startswith('I') else picture().convert(mode)
    assert expect_good(train_with(encoded(image, '2.png'), '2.png')).kind == 'works'


@pytest.mark.parametrize('mode', ['L', 'CMYK', 'YCbCr'])
def test_modes_of_jpeg(train_with, encoded, expect_good, mode):
    assert expect_good(train_with(encoded(picture().convert(mode), '2.jpg'))).kind == 'works'


def test_floats(train_with, tmp_path, expect_good):
    path = tmp_path / '2.tiff'
    cv2.imwrite(str(path), np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32))
    expect_good(train_with(path.read_bytes(), '2.tiff'))


@pytest.mark.parametrize('name', ['2.webp', '2.gif', '2.tiff', '2.bmp', '2.ppm', '2.jp2'])
def test_formats(train_with, encoded, expect_good, name):
    expect_good(train_with(encoded(picture(), name), name))


@pytest.mark.parametrize(
    ('wrong', 'right'), [('2.jpg', '2.png'), ('2.png', '2.jpg'), ('2', '2.png')]
)
def test_wrong_extension(train_with, encoded, expect_good, wrong, right):
    assert expect_good(train_with(encoded(picture(), right), wrong)).kind == 'works'


@pytest.mark.parametrize(
    ('width', 'height'), [(1, 1), (2000, 1), (1, 2000), (1, 64), (64, 1), (3, 100), (4000, 30)]
)
def test_extreme_sizes(train_with, encoded, expect_good, width, height):
    content = encoded(picture(width, height), '2.png')
    expect_good(train_with(content, '2.png', width, height))


@pytest.mark.parametrize(('width', 'height'), [(64, 32), (32, 64), (640, 640), (1, 1)])
def test_annotated_with_another_size(train_with, encoded, expect_good, width, height):
    content = encoded(picture(), '2.png')
    assert expect_good(train_with(content, '2.png', width, height)).kind == 'refused'


@pytest.mark.parametrize('orientation', [3, 6])
def test_turned_by_exif(train_with, encoded, expect_good, orientation):
    image = picture(SIZE, SIZE // 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, '2.jpg', exif=exif)
    outcome = expect_good(train_with(content, '2.jpg', SIZE, SIZE // 2))
    assert outcome.kind == ('refused' if orientation == 6 else 'works')


@pytest.mark.parametrize('side', [20_000, 60_000, 2**31 - 1])
def test_decompression_bomb(train_with, encoded, expect_good, side):
    """A PNG of a few bytes that announces huge sides."""
    content = encoded(picture(), '2.png')
    header = b'IHDR' + struct.pack('>II', side, side) + content[24:29]
    content = content[:12] + header + struct.pack('>I', zlib.crc32(header)) + content[33:]
    assert expect_good(train_with(content, '2.png')).kind == 'refused'


@pytest.mark.parametrize(
    'name', ['missing.jpg', '', '../images', 'a' * 300, '2.jpg/', '\0', 'ü.jpg']
)
def test_names_of_no_file(tools, tiny_data, expect_good, name):
    config, root, coco = tiny_data
    spoilt = copy.deepcopy(coco)
    spoilt['images'][1]['file_name'] = name
    write_annotations(root, spoilt)
    assert expect_good(tools.run('train', config)).kind == 'refused'
