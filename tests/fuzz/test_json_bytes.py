"""Annotation files that are no JSON, or JSON of another shape."""

import json
import random

import pytest
from helpers.fuzz import Outcome


@pytest.fixture
def train_on(tools, tiny_data):
    """A function that trains on an annotation file of these bytes."""
    config, root, _ = tiny_data

    def train(content: bytes) -> Outcome:
        (root / 'annotations.json').write_bytes(content)
        return tools.run('train', config)

    return train


@pytest.fixture
def text(tiny_data):
    return json.dumps(tiny_data[2])


@pytest.mark.parametrize('share', [0, 0.001, 0.3, 0.6, 0.9, 0.999])
def test_truncated(train_on, expect_good, text, share):
    outcome = train_on(text[: int(share * len(text))].encode())
    assert expect_good(outcome).kind == 'refused'


@pytest.mark.parametrize('seed', range(25))
def test_flipped_bytes(train_on, expect_good, text, seed):
    generator = random.Random(seed)
    content = bytearray(text.encode())
    for _ in range(1 + seed % 3):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    expect_good(train_on(bytes(content)))


@pytest.mark.parametrize('seed', range(15))
def test_changed_digits(train_on, expect_good, text, seed):
    generator = random.Random(seed)
    digits = [i for i, character in enumerate(text) if character.isdigit()]
    i = generator.choice(digits)
    new = generator.choice('0123456789.-eE"[{')
    expect_good(train_on((text[:i] + new + text[i + 1 :]).encode()))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-32', 'latin-1', 'utf-8'])
def test_encodings(train_on, expect_good, text, encoding):
    expect_good(train_on(('{"info": "é", ' + text[1:]).encode(encoding)))


def test_compressed(train_on, expect_good, text):
    import gzip

    expect_good(train_on(gzip.compress(text.encode())))


@pytest.mark.parametrize(
    'content',
    [
        'null',
        'true',
        '3',
        'NaN',
        '"text"',
        '[]',
        '{}',
        '[[[[]]]]',
        '[' * 100_000,
        '{"a":' * 100_000,
        '{"images": {}, "annotations": {}, "categories": {}}',
        '{"images": [], "annotations": [], "categories": []}',
        '\0' * 100,
        '<annotation></annotation>',
        '{"images": [{"id": 1e999}]}',
    ],
    ids=lambda content: content[:12],
)
def test_other_content(train_on, expect_good, content):
    assert expect_good(train_on(content.encode())).kind == 'refused'


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_a_key_twice(train_on, expect_good, text, key):
    expect_good(train_on((text[:-1] + f', "{key}": []}}').encode()))


def test_a_folder_in_place_of_the_file(tools, tiny_data, expect_good, tmp_path):
    config, _, _ = tiny_data
    option = f'train_dataloader.dataset.ann_file={tmp_path}'
    assert expect_good(tools.run('train', config, options=[option])).kind == 'refused'
