"""Annotation files with wrong fields: refused in one sentence, or used with nothing lost silently."""

import copy
import random

import pytest
from helpers.fuzz import Outcome, logged_warnings
from helpers.tiny_detector import write_annotations

ABSENT = object()
VALUES = {
    'absent': ABSENT,
    'none': None,
    'true': True,
    'text': 'abc',
    'digits': '7',
    'empty': '',
    'nan': float('nan'),
    'inf': float('inf'),
    'negative': -1,
    'zero': 0,
    'fraction': 0.5,
    'one': 1,
    'one_float': 1.0,
    'huge': 10**12,
    'vast': 10**400,
    'list': [],
    'numbers': [1, 2, 3, 4],
    'nested': [[1, 2], [3, 4]],
    'object': {},
    'deep': {'a': [{'b': [None]}]},
}
FIELDS = {
    'images': ('id', 'file_name', 'width', 'height'),
    'categories': ('id', 'name', 'supercategory'),
    'annotations': (
        'id',
        'image_id',
        'category_id',
        'bbox',
        'area',
        'iscrowd',
        'ignore',
        'segmentation',
    ),
}
ALL = [(name, field, value) for name in FIELDS for field in FIELDS[name] for value in VALUES]
PAIRS = random.Random(0).sample(ALL, 90)


def put(entry, key, value) -> None:
    """Set or delete what an object or a list has under a key."""
    if value is not ABSENT:
        entry[key] = value
    elif key in entry:
        del entry[key]


def train(tools, tiny_data, coco) -> Outcome:
    """Train on annotations; it is silent if fewer objects are trained on than the file has, and nothing is said."""
    config, root, _ = tiny_data
    write_annotations(root, coco)
    with logged_warnings() as messages:
        outcome = tools.run('train', config)
    if outcome.kind == 'works' and not any('annotations.json' in message for message in messages):
        trained_on = tools.num_objects()
        if trained_on != len(coco['annotations']):
            return Outcome('silent', f'{trained_on} of {len(coco["annotations"])} objects')
    return outcome


@pytest.mark.parametrize(('entries', 'field', 'value'), PAIRS)
def test_a_field_of_one_entry(tools, tiny_data, expect_good, entries, field, value):
    coco = copy.deepcopy(tiny_data[2])
    put(coco[entries][1], field, VALUES[value])
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('field', ['id', 'iscrowd', 'area', 'bbox', 'category_id', 'image_id'])
def test_a_field_of_all_annotations(tools, tiny_data, expect_good, field):
    coco = copy.deepcopy(tiny_data[2])
    for annotation in coco['annotations']:
        del annotation[field]
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('value', [name for name in VALUES if name not in ('absent', 'deep')])
@pytest.mark.parametrize('place', [0, 2])
def test_a_number_of_a_box(tools, tiny_data, expect_good, place, value):
    coco = copy.deepcopy(tiny_data[2])
    coco['annotations'][1]['bbox'][place] = VALUES[value]
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('value', ['absent', 'none', 'text', 'one', 'list', 'numbers', 'object'])
@pytest.mark.parametrize('entries', FIELDS)
class TestWholes:
    def test_a_list(self, tools, tiny_data, expect_good, entries, value):
        coco = copy.deepcopy(tiny_data[2])
        put(coco, entries, VALUES[value])
        expect_good(train(tools, tiny_data, coco))

    def test_an_entry(self, tools, tiny_data, expect_good, entries, value):
        coco = copy.deepcopy(tiny_data[2])
        if value == 'absent':
            del coco[entries][1]
        else:
            coco[entries][1] = VALUES[value]
        expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('entries', FIELDS)
def test_a_duplicate(tools, tiny_data, expect_good, entries):
    coco = copy.deepcopy(tiny_data[2])
    coco[entries].append(copy.deepcopy(coco[entries][0]))
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('entries', FIELDS)
def test_duplicate_ids(tools, tiny_data, expect_good, entries):
    coco = copy.deepcopy(tiny_data[2])
    coco[entries][1]['id'] = coco[entries][0]['id']
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('to', [str, float, lambda value: [value], lambda value: value + 2**40])
@pytest.mark.parametrize('entries', FIELDS)
def test_all_ids_of_another_kind(tools, tiny_data, expect_good, entries, to):
    coco = copy.deepcopy(tiny_data[2])
    reference = {'images': 'image_id', 'categories': 'category_id'}.get(entries)
    for entry in coco[entries]:
        entry['id'] = to(entry['id'])
    if reference:
        for annotation in coco['annotations']:
            annotation[reference] = to(annotation[reference])
    expect_good(train(tools, tiny_data, coco))


@pytest.mark.parametrize('seed', range(25))
def test_several_at_once(tools, tiny_data, expect_good, seed):
    generator = random.Random(seed)
    coco = copy.deepcopy(tiny_data[2])
    for entries, field, value in generator.sample(ALL, 3):
        put(generator.choice(coco[entries]), field, VALUES[value])
    expect_good(train(tools, tiny_data, coco))
