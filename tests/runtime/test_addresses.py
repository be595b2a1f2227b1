"""Pictures are taken from the network as from files, and what goes wrong is one sentence."""

import socket

import numpy as np
import pytest
from helpers.web import serving
from PIL import Image

from mmdet_setdet.errors import InputError
from mmdet_setdet.runtime import addresses
from mmdet_setdet.runtime.images import read_image


@pytest.fixture
def served(tmp_path):
    """Yield a folder and its address."""
    with serving(tmp_path) as address:
        yield tmp_path, address


def test_a_picture_is_the_same_as_from_its_file(served):
    folder, address = served
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / 'my photo.png')
    np.testing.assert_array_equal(read_image(f'{address}/my%20photo.png'), pixels)


def test_a_page_and_a_missing_file_are_refused(served):
    folder, address = served
    (folder / 'page.html').write_text('<html>')
    with pytest.raises(InputError, match=r'page\.html: not an image'):
        read_image(f'{address}/page.html')
    with pytest.raises(InputError, match=r'absent\.jpg: cannot be fetched .*404'):
        read_image(f'{address}/absent.jpg')


def test_a_file_that_is_too_large_is_not_read_to_its_end(served, monkeypatch):
    folder, address = served
    (folder / 'a.jpg').write_bytes(bytes(2000))
    monkeypatch.setattr(addresses, 'MEGABYTES', 0.001)
    with pytest.raises(InputError, match=r'a\.jpg: larger than 0\.001 MB'):
        read_image(f'{address}/a.jpg')


@pytest.mark.parametrize('address', ['http://', 'http://[::1', 'http://127.0.0.1:x/a b.jpg'])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match='cannot be fetched'):
        read_image(address)


def test_the_name_of_the_file_at_an_address():
    assert addresses.file_name('https://a.b/c/d%20e.jpg?f=/g.png#h') == 'd e.jpg'
    assert not addresses.file_name('https://a.b')
    with pytest.raises(InputError, match='not an address'):
        addresses.file_name('http://[::1')


def test_a_server_that_is_silent_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(addresses, 'SECONDS', 0.1)
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match='cannot be fetched .*timed out'):
            read_image(f'http://127.0.0.1:{port}/a.jpg')
