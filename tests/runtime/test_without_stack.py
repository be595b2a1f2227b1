"""Exported models run where there are neither torch nor OpenMMLab's packages."""

import io
import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest
from helpers.configs import REPOSITORY
from PIL import Image

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
from helpers.tiny_onnx import write_set_model

PROGRAM = REPOSITORY / 'tests' / 'helpers' / 'without_stack.py'


@pytest.fixture
def start(tmp_path):
    """A function that starts a command of ``setdet`` in a folder with ``red.png`` and ``model.onnx``."""
    write_set_model(tmp_path / 'model.onnx')
    Image.new('RGB', (60, 40), 'red').save(tmp_path / 'red.png')
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *words],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_predict_needs_the_runtime_alone(start, tmp_path):
    output, errors = start('predict', 'model.onnx', 'red.png', '--json', 'a.json').communicate()
    assert '1 objects above 0.3 in 1 pictures' in output, errors
    [found] = json.loads((tmp_path / 'a.json').read_text())['annotations']
    assert found['category_id'] == 1
    assert (tmp_path / 'predictions' / 'red.png').is_file()


def test_serve_needs_the_runtime_alone(start):
    process = start('serve', 'model.onnx', '--port', '0')
    line = process.stdout.readline()
    address = re.search(r'http://\S+', line)
    assert address, process.communicate()
    image = io.BytesIO()
    Image.new('RGB', (60, 40), 'red').save(image, 'png')
    with urllib.request.urlopen(f'{address[0]}/detect', image.getvalue(), timeout=30) as answer:
        [found] = json.loads(answer.read())['objects']
    assert found['label'] == 0


def test_nothing_is_trained_without_the_stack(start):
    process = start('train', 'dn_detr_r50_50e')
    _, errors = process.communicate()
    assert process.returncode
    assert "No module named 'mmengine'" in errors or "No module named 'torch'" in errors
