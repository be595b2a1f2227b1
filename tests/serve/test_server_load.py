"""Many requests at once, on a model that is computed: none is lost, and memory stays as it is."""

import collections
import http.client
import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdet_setdet.runtime import Detector
from mmdet_setdet.serve import DetectionServer, Limits

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
from helpers.tiny_onnx import write_set_model

AT_ONCE = 200
STATUS = Path('/proc/self/status')


@pytest.fixture
def storm(tmp_path):
    """A function that sends requests of 1.5 MB at once to a server with a queue, and counts the statuses."""
    write_set_model(tmp_path / 'model.onnx')
    detector = Detector(tmp_path / 'model.onnx', threads=1)
    server = DetectionServer(detector, port=0, limits=Limits(queue=8))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'png')
    together = threading.Barrier(AT_ONCE)

    def ask(_):
        connection = http.client.HTTPConnection(*server.server_address, timeout=60)
        together.wait()
        connection.request('POST', '/detect', file.getvalue())
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def storm():
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return collections.Counter(pool.map(ask, range(AT_ONCE)))

    yield storm
    server.shutdown()
    server.server_close()


def resident_megabytes():
    return int(re.search(r'VmRSS:\s+(\d+)', STATUS.read_text())[1]) / 1024


def test_of_many_at_once_each_is_answered(storm):
    statuses = storm()
    assert set(statuses) == {200, 503}
    assert sum(statuses.values()) == AT_ONCE
    assert statuses[200] >= 8


@pytest.mark.skipif(not STATUS.exists(), reason='memory is read from /proc')
def test_memory_stays_as_it_is(storm):
    storm()
    before = resident_megabytes()
    for _ in range(3):
        storm()
    # A tenth of what came would be 90 MB.
    assert resident_megabytes() - before < 90
