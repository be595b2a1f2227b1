"""docs/reliability.md names a test for each fault: they exist."""

import ast
import re

import pytest
from helpers.configs import REPOSITORY

PAGE = (REPOSITORY / 'docs/reliability.md').read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith('| ') and '`test' in line]
DEFAULT = 'tests/engine/test_ending.py'


def test_every_fault_has_a_row():
    assert len(ROWS) > 25


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.split('|')[1].strip())
def test_the_tests_of_a_row_exist(row):
    names = re.findall(r'`(?:(tests/\S+\.py)::)?((?:test_|Test)\w+)`', row.split('|')[4])
    assert names
    for file, name in names:
        tree = ast.parse((REPOSITORY / (file or DEFAULT)).read_text())
        defined = [getattr(node, 'name', None) for node in ast.walk(tree)]
        assert name in defined
