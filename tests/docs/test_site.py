"""The site: its reference has every public name, and its first page is the README."""

import importlib
import pkgutil
import re
from types import SimpleNamespace

from helpers.configs import REPOSITORY
from helpers.tiny_detector import tool

import mmdet_setdet

HOOKS = tool('docs/hooks')
REFERENCE = {
    name
    for page in (REPOSITORY / 'docs' / 'api').glob('*.md')
    for name in re.findall(r'^::: (\S+)$', page.read_text(), re.MULTILINE)
}
LEFT_OUT = {
    'mmdet_setdet.models',  # its parts are there
    'mmdet_setdet.models.backbones.crossformer',  # as of backbones
    'mmdet_setdet.models.layers.fast',  # internal
    'mmdet_setdet.datasets.generators',  # as of datasets
    'mmdet_setdet.datasets.transforms',
    'mmdet_setdet.serve',  # a command
}


def packages():
    """The packages that say what is public in them."""
    for info in pkgutil.walk_packages(mmdet_setdet.__path__, 'mmdet_setdet.'):
        if info.ispkg and hasattr(importlib.import_module(info.name), '__all__'):
            yield info.name


def page(name):
    return SimpleNamespace(file=SimpleNamespace(src_uri=name))


def test_the_reference_has_all_public_packages():
    assert set(packages()) - REFERENCE - LEFT_OUT == set()


def test_the_reference_names_what_exists():
    for name in REFERENCE:
        module, _, attribute = name.rpartition('.')
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name


def test_the_first_page_is_the_readme():
    for name in ('index.md', 'index.zh.md'):
        text = HOOKS.on_page_markdown('', page(name))
        assert '# mmdet_setdet' in text
        assert '](docs/' not in text
        assert '](README' not in text


def test_what_lies_outside_is_named():
    text = HOOKS.on_page_markdown('see [a](b.md) and [c.py](../configs/c.py).', page('x.md'))
    assert text == 'see [a](b.md) and c.py.'


def test_docstrings_lose_the_marks_of_sphinx():
    html = '<p>See :class:<code>~mmdet_setdet.errors.InputError</code>::</p>'
    assert HOOKS.on_page_content(html) == '<p>See <code>InputError</code>:</p>'


def test_lines_of_chinese_are_joined():
    text = HOOKS.on_page_markdown('一句。\n二句\n三句。\n\n一段。\n- 列表', page('x.zh.md'))
    assert text == '一句。二句三句。\n\n一段。\n- 列表'
