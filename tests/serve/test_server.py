"""The page's server: images in, boxes out, and nothing else in or out."""

import http.client
import io
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmdet_setdet.runtime import Detections, Layers, ModelInfo
from mmdet_setdet.serve import DetectionServer, Limits

CLASSES = ['bolt', 'nut']


class StubDetector:
    """Finds one object that fills the image; waits at a gate, so that tests decide how long it takes."""

    info = ModelInfo('stub', '1', CLASSES, [0.0] * 3, [1.0] * 3, True, 'fit', [64, 64])

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = 0
        self.most_at_once = 0

    def __call__(self, image, score):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(10)
        self.at_once -= 1
        height, width = image.shape[:2]
        box = np.array([[0, 0, width, height]], np.float32)
        one = np.array([0.9], np.float32)
        label = np.array([1])
        layers = Layers(box[None], one[None], label[None])
        return Detections(box, one, label, CLASSES, queries=np.array([7]), layers=layers)


@pytest.fixture
def served():
    """Yield a function that starts a server with limits and returns (detector, ask)."""
    servers = []

    def start(**limits):
        detector = StubDetector()
        server = DetectionServer(detector, port=0, limits=Limits(**limits))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)

        def ask(method, path, body=None, headers=None):
            host, port = server.server_address
            connection = http.client.HTTPConnection(host, port, timeout=20)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
            connection.close()
            return SimpleNamespace(
                status=response.status, headers=response.headers, content=content
            )

        return detector, ask

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def picture(width=30, height=20):
    file = io.BytesIO()
    Image.new('RGB', (width, height)).save(file, 'png')
    return file.getvalue()


def test_the_server_listens_to_this_machine_alone():
    server = DetectionServer(StubDetector(), port=0)
    assert server.server_address[0] == '127.0.0.1'
    server.server_close()


@pytest.mark.parametrize('path', ['/', '/app.js', '/detect.js', '/picture.js', '/style.css'])
def test_the_page_comes_from_here_and_loads_nothing_from_elsewhere(served, path):
    _, ask = served()
    answer = ask('GET', path)
    assert answer.status == 200
    assert b'http://' not in answer.content
    assert b'https://' not in answer.content
    assert "default-src 'self'" in answer.headers['Content-Security-Policy']


def test_an_image_becomes_boxes_with_their_queries_and_layers(served):
    _, ask = served()
    answer = json.loads(ask('POST', '/detect', picture()).content)
    assert (answer['width'], answer['height']) == (30, 20)
    assert answer['objects'] == [dict(box=[0, 0, 30, 20], score=0.9, label=1, query=7)]
    assert answer['layers'][0]['boxes'] == [[0, 0, 30, 20]]
    assert json.loads(ask('GET', '/info.json').content)['classes'] == CLASSES


def bomb():
    """A file of a few bytes that says it has a billion pixels, more than Pillow opens."""
    data = bytearray(picture())
    data[16:24] = struct.pack('>II', 40_000, 25_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    return bytes(data)


REFUSED = {
    'no image': (b'hello', {}, 415, 'no image'),
    'half an image': (picture(300, 300)[:-40], {}, 415, 'no image'),
    'too many bytes': (b'x' * 30_000, {}, 413, 'larger than 0.02 MB'),
    'too many pixels': (picture(2000, 600), {}, 413, '1 million pixels'),
    'a bomb': (bomb(), {}, 413, '1 million pixels'),
    'no length': (None, {'Content-Length': 'many'}, 411, 'how long'),
    'negative length': (None, {'Content-Length': '-5'}, 413, 'larger'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_what_cannot_be_used_is_refused_in_a_sentence(served, kind):
    body, headers, status, text = REFUSED[kind]
    _, ask = served(megabytes=0.02, megapixels=1)
    answer = ask('POST', '/detect', body, headers)
    assert answer.status == status
    assert text in json.loads(answer.content)['error']
    assert b'/' not in answer.content  # no path of the machine


def test_the_answer_reaches_who_is_still_sending(served):
    _, ask = served(megabytes=0.02)
    for _ in range(3):
        assert ask('POST', '/detect', b'x' * 30_000_000).status == 413


@pytest.mark.parametrize(
    'path', ['/../server.py', '/page/app.js', '/etc/passwd', '/%2e%2e/server.py']
)
def test_no_other_file_is_given_out(served, path):
    _, ask = served()
    assert ask('GET', path).status == 404


def test_a_full_queue_says_come_again_and_nobody_waiting_is_lost(served):
    detector, ask = served(queue=4)
    detector.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(ask, 'POST', '/detect', picture()) for _ in range(20)]
        refused = []
        deadline = time.monotonic() + 10
        while len(refused) < 16 and time.monotonic() < deadline:
            refused = [one for one in waiting if one.done()]
            time.sleep(0.01)
        detector.gate.set()
        statuses = sorted(one.result().status for one in waiting)
    assert statuses == [200] * 4 + [503] * 16
    assert refused[0].result().headers['Retry-After'] == '1'
    assert detector.most_at_once == 1


def test_a_failing_model_ends_no_server_and_shows_no_inside(served, capsys):
    detector, ask = served()
    detector.gate = None  # calling it raises
    answer = ask('POST', '/detect', picture())
    assert answer.status == 500
    assert json.loads(answer.content) == dict(error='The model failed on this image.')
    detector.gate = threading.Event()
    detector.gate.set()
    assert ask('POST', '/detect', picture()).status == 200
