"""The tutorials: they run from top to bottom, are kept without outputs, and their links lead somewhere."""

import json
import os
import re

import pytest
from helpers.configs import REPOSITORY

FOLDER = REPOSITORY / 'docs' / 'tutorials'
TUTORIALS = sorted(FOLDER.glob('*.ipynb'))
# What takes long becomes shorter in the tests.
SHORTER = {
    'denoising_your_detr': ('in range(200):', 'in range(10):'),
    'detr_explained': ('in range(150):', 'in range(10):'),
    'export_and_serve': ('with_layers=True)', 'with_layers=True, dynamic=[])'),
    'train_on_your_data': ('steps = 60', 'steps = 5'),
}
every_tutorial = pytest.mark.parametrize('path', TUTORIALS, ids=lambda path: path.stem)


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding='utf-8'))
    return [cell for cell in notebook['cells'] if cell['cell_type'] == kind]


def test_there_are_five():
    assert len(TUTORIALS) == 5


@every_tutorial
def test_outputs_are_not_kept(path):
    for cell in cells(path, 'code'):
        assert not cell['outputs']
        assert cell['execution_count'] is None


@every_tutorial
def test_links_lead_somewhere(path):
    text = ''.join(''.join(cell['source']) for cell in cells(path, 'markdown'))
    links = re.findall(r'\]\(([^):#]+)(?:#[^)]*)?\)', text)
    assert links
    for link in links:
        assert (FOLDER / link).is_file(), link


@pytest.mark.slow
@every_tutorial
def test_it_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient', reason='needs nbclient and ipykernel')
    pytest.importorskip('ipykernel', reason='needs nbclient and ipykernel')
    import nbformat

    monkeypatch.setenv('PYTHONPATH', f'{REPOSITORY}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    text = path.read_text(encoding='utf-8')
    long, short = SHORTER.get(path.stem, ('', ''))
    assert long in text
    notebook = nbformat.reads(text.replace(long, short), as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources=dict(metadata=dict(path=tmp_path))
    ).execute()
