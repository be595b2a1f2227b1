"""The page without a server computes in the browser what the runtime computes."""

import base64
import functools
import io
import json
import os
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmdet_setdet.commands import serve
from mmdet_setdet.errors import InputError
from mmdet_setdet.runtime import Detector, dense
from mmdet_setdet.runtime.images import resized, to_batch
from mmdet_setdet.runtime.resizing import resize
from mmdet_setdet.serve import static, write_page

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
from helpers.tiny_onnx import NMS, model_info, write_dense_model, write_set_model


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def serve_folder():
    """A function that serves a folder as any file server does, and returns the address."""
    servers = []

    def serve(folder):
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f'http://127.0.0.1:{server.server_address[1]}'

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def module(tab, serve_folder, tmp_path):
    """A function that calls a function of a module of the page."""
    (tmp_path / 'index.html').write_text('<!doctype html><link rel="icon" href="data:,">')
    for file in static.LOCAL.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tab.goto(serve_folder(tmp_path))

    def call(name, body, *arguments):
        return tab.evaluate(
            f"async (args) => {{ const m = await import('./{name}.js'); {body} }}", list(arguments)
        )

    return call


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


SIZES = [(37, 61), (61, 37), (120, 97), (64, 64), (24, 31)]


@pytest.mark.parametrize('kind', ['bilinear', 'bicubic', 'cv2'])
def test_resizing_is_the_runtimes_to_the_pixel(module, kind):
    body = """
    const [[height, width], data, size, kind] = args;
    return [...m.resize({ width, height, data }, size, kind).data];
    """
    for height, width in SIZES:
        image = noise(height, width)
        arguments = [height, width], image.flatten().tolist(), (48, 32), kind
        actual = np.reshape(module('resizing', body, *arguments), (32, 48, 3))
        np.testing.assert_array_equal(actual, resize(image, (48, 32), kind))


RULES = [
    dict(),
    dict(resize='fit', filter='cv2', rgb=False, size_divisor=1),
    dict(fixed=dict(batch=1, height=60, width=60), filter='bicubic'),
]


@pytest.mark.parametrize('rule', RULES)
def test_the_input_of_the_model_is_the_runtimes_to_the_bit(module, rule):
    info = model_info(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], **rule)
    body = """
    const [file, info] = args;
    const bytes = Uint8Array.from(atob(file), (byte) => byte.charCodeAt(0));
    const image = await m.decode(new Blob([bytes]));
    const { tensor, size, padded } = m.prepare(image, info);
    return { tensor: [...tensor], size, padded };
    """
    for height, width in SIZES:
        image = noise(height, width)
        expected, sizes = to_batch([resized(image, info)], info)
        actual = module('images', body, png(image), json.loads(info.to_json()))
        assert actual['size'] == sizes[0][::-1].tolist()
        assert actual['padded'] == list(expected.shape[:1:-1])
        tensor = np.float32(actual['tensor']).reshape(expected.shape)
        np.testing.assert_array_equal(tensor, expected)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'png')
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize('has_factors', [False, True])
@pytest.mark.parametrize('one_per_cell', [False, True])
def test_the_choice_among_the_boxes_of_a_dense_head_is_the_runtimes(
    module, has_factors, one_per_cell
):
    random = np.random.default_rng(0)
    # Two levels of an input of 64 x 48.
    count = 8 * 6 + 4 * 3
    low = random.uniform(0, 40, (count, 2))
    high = low + random.uniform(5, 30, (count, 2))
    predictions = dict(
        boxes=np.concatenate([low, high], 1).astype(np.float32),
        scores=random.uniform(0, 1, (count, 3)).astype(np.float32),
    )
    if has_factors:
        predictions['factors'] = random.uniform(0, 1, count).astype(np.float32)
    nms = dict(NMS, strides=[8, 16], nms_pre=60, one_per_cell=one_per_cell, iou_threshold=0.3)
    nms.update(max_per_img=30, drops_empty=True)
    expected = dense.select(predictions, (48, 64), (40, 60), nms)
    outputs = {name: dict(data=array.flatten().tolist()) for name, array in predictions.items()}
    body = """
    const [outputs, padded, size, info] = args;
    for (const output of Object.values(outputs)) output.data = Float32Array.from(output.data);
    return m.select(outputs, padded, size, info);
    """
    info = dict(nms=nms, classes=['a', 'b', 'c'])
    actual = module('dense', body, outputs, (64, 48), (60, 40), info)
    assert actual['labels']['data'] == expected['labels'].tolist()
    np.testing.assert_array_equal(np.float32(actual['scores']['data']), expected['scores'])
    np.testing.assert_array_equal(np.float32(actual['boxes']['data']), expected['boxes'].flatten())


def test_the_duplicates_of_set_prediction_are_the_runtimes(module):
    count = 40
    random = np.random.default_rng(0)
    low = random.uniform(0, 40, (count, 2))
    results = dict(
        boxes=np.concatenate([low, low + random.uniform(5, 30, (count, 2))], 1),
        scores=np.linspace(1, 0, count),
        labels=random.integers(0, 3, count),
        queries=random.permutation(count),
        attention=random.uniform(0, 1, (count, 2, 3)),
        layer_scores=random.uniform(0, 1, (2, count)),
    )
    results = {name: values.astype(np.float32) for name, values in results.items()}
    expected = dense.without_duplicates(results, 0.1)
    assert 10 < len(expected['scores']) < 30
    body = """
    const [outputs, maxOverlap] = args;
    for (const output of Object.values(outputs)) output.data = Float32Array.from(output.data);
    const kept = Object.entries(m.withoutDuplicates(outputs, maxOverlap));
    return Object.fromEntries(kept.map(([name, { data }]) => [name, [...data]]));
    """
    outputs = {name: dict(data=values.flatten().tolist()) for name, values in results.items()}
    actual = module('dense', body, outputs, 0.1)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(np.float32(actual[name]), values.flatten())


@pytest.fixture
def runtime_package():
    """The npm package of ONNX Runtime for browsers, which is too large for the repository."""
    package = os.environ.get('SETDET_ONNXRUNTIME_WEB')
    if not package:
        pytest.skip('set SETDET_ONNXRUNTIME_WEB to the npm package onnxruntime-web')
    return Path(package)


@pytest.mark.parametrize('write_model', [write_set_model, write_dense_model])
def test_a_folder_without_a_server_finds_what_the_runtime_finds(
    tab, serve_folder, runtime_package, picture, tmp_path, write_model
):
    model = tmp_path / 'colours.onnx'
    write_model(model)
    site = str(tmp_path / 'site')
    serve.main([str(model), '--static', site, '--onnxruntime-web', str(runtime_package)])
    asked = []
    tab.on('request', lambda request: asked.append(request.url))
    address = serve_folder(site)
    tab.goto(address)
    tab.set_input_files('#file', dict(name='a.png', mimeType='image/png', buffer=picture))
    tab.wait_for_selector('#objects tr')
    assert all(url.startswith((address, 'data:', 'blob:')) for url in asked)

    answer = tab.evaluate(
        """async (bytes) => {
        const { detect } = await import('./detect.js');
        const info = await (await fetch('info.json')).json();
        return detect(new Blob([Uint8Array.from(bytes)]), info);
        }""",
        list(picture),
    )
    expected = Detector(model, threads=1)(Image.open(io.BytesIO(picture)), 0.05)
    assert (answer['width'], answer['height']) == (200, 150)
    assert [one['label'] for one in answer['objects']] == expected.labels.tolist()
    boxes = [one['box'] for one in answer['objects']]
    np.testing.assert_allclose(boxes, expected.boxes, atol=1e-3)
    scores = [one['score'] for one in answer['objects']]
    np.testing.assert_allclose(scores, expected.scores, atol=1e-6)
    if expected.layers:
        layer_boxes = [layer['boxes'] for layer in answer['layers']]
        np.testing.assert_allclose(layer_boxes, expected.layers.boxes, atol=1e-3)
        maps = expected.layers.attention
        assert answer['cells'] == dict(width=maps.shape[2], height=maps.shape[1])
        shares = maps / maps.max((1, 2), keepdims=True)
        levels = [one['attention'] for one in answer['objects']]
        np.testing.assert_allclose(np.reshape(levels, maps.shape), 255 * shares, atol=0.51)


def test_the_package_alone_makes_no_page():
    with pytest.raises(InputError, match='add --static FOLDER'):
        serve.main(['model.onnx', '--onnxruntime-web', 'package.tgz'])


def test_what_no_browser_can_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'browsers run \.onnx alone'):
        write_page(tmp_path / 'model.xml', tmp_path / 'site')


def test_without_npm_it_is_said_where_the_package_comes_from(tmp_path, monkeypatch):
    model = tmp_path / 'colours.onnx'
    write_set_model(model)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(InputError, match='npm, which is not installed; fetch it elsewhere'):
        write_page(model, tmp_path / 'site')


def test_what_npm_says_is_passed_on(tmp_path, monkeypatch):
    model = tmp_path / 'model.onnx'
    write_set_model(model)
    npm = tmp_path / 'npm'
    npm.write_text('#!/bin/sh\necho "network is unreachable" >&2\nexit 1\n')
    npm.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    with pytest.raises(
        InputError, match='npm pack onnxruntime-web.*npm says: network is unreachable'
    ):
        write_page(model, tmp_path / 'site')


def test_a_port_in_use_is_named(tmp_path):
    model = tmp_path / 'model.onnx'
    write_set_model(model)
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f'--port {port}: .*in use; choose another port'):
            serve.main([str(model), '--port', str(port)])


def test_what_is_not_the_package_is_refused_by_name(tmp_path):
    model = tmp_path / 'colours.onnx'
    write_set_model(model)
    with pytest.raises(InputError, match=r'colours\.onnx: not the npm package'):
        write_page(model, tmp_path / 'site', model)
