"""The page in a browser, on a model that finds colours."""

import threading

import pytest

from mmdet_setdet.runtime import Detector
from mmdet_setdet.serve import DetectionServer

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
from helpers.tiny_onnx import LAST_BOXES, write_set_model


@pytest.fixture(scope='module')
def address(tmp_path_factory):
    model = tmp_path_factory.mktemp('model') / 'colours.onnx'
    write_set_model(model)
    server = DetectionServer(Detector(model, threads=1), port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_address[1]}'
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(tab, address, picture):
    """The page with a picture of 200 x 150 pixels."""
    tab.goto(address)
    upload(tab, picture)
    tab.wait_for_selector('#objects tr')
    return tab


def upload(tab, content, name='shapes.png'):
    tab.set_input_files('#file', dict(name=name, mimeType='image/png', buffer=content))


def rows(page):
    return [text.split('\t') for text in page.locator('#objects tr').all_inner_texts()]


def names(page):
    return [row[0] for row in rows(page)]


def slide(page, name, value):
    page.locator(name).fill(str(value))


def pixels(page):
    """What the canvas shows."""
    return page.evaluate("document.querySelector('#canvas').toDataURL()")


def middle(page, label):
    """Where on the canvas the middle of a class's box is."""
    canvas = page.locator('#canvas').bounding_box()
    x1, y1, x2, y2 = LAST_BOXES[label]
    return dict(x=(x1 + x2) / 2 * canvas['width'], y=(y1 + y2) / 2 * canvas['height'])


def test_the_page_says_what_it_serves(tab, address):
    tab.goto(address)
    tab.locator('#model', has_text='colours, 3 classes').wait_for()
    assert not tab.is_visible('#panel')


def test_an_image_shows_its_objects_the_best_first(page):
    slide(page, '#score', 0.05)
    found = rows(page)
    assert [row[0] for row in found] == ['red', 'blue', 'green']
    assert [row[2] for row in found] == ['0', '2', '1']  # the queries
    scores = [float(row[1]) for row in found]
    assert scores == sorted(scores, reverse=True)


def test_the_score_decides_what_is_shown(page):
    slide(page, '#score', 0.05)
    assert len(rows(page)) == 3
    everything = pixels(page)
    slide(page, '#score', 0.6)
    assert names(page) == ['red']
    assert pixels(page) != everything
    slide(page, '#score', 0.99)
    assert names(page) == []
    assert page.is_visible('#none')


def test_a_class_is_switched_off_and_on(page):
    slide(page, '#score', 0.05)
    chip = page.locator('.chip', has_text='red')
    chip.click()
    assert names(page) == ['blue', 'green']
    chip.click()
    assert names(page) == ['red', 'blue', 'green']


def test_the_layers_are_steps_to_the_result(page):
    slide(page, '#score', 0.05)
    result, final = rows(page), pixels(page)
    slide(page, '#layer', 1)
    assert page.inner_text('#layer-value') == '1 of 2'
    first = rows(page)
    halves = [float(row[1]) / 2 for row in result]
    assert [float(row[1]) for row in first] == pytest.approx(halves, abs=0.011)
    assert pixels(page) != final
    slide(page, '#layer', 3)
    assert page.inner_text('#layer-value') == 'result'
    assert pixels(page) == final


def test_a_clicked_box_shows_how_its_query_came_to_it_and_where_it_looks(page):
    plain = pixels(page)
    page.locator('#canvas').click(position=middle(page, 0))
    assert page.locator('tr.chosen').inner_text().startswith('red')
    with_attention = pixels(page)
    page.locator('#attention').uncheck()
    without = pixels(page)
    assert len({plain, with_attention, without}) == 3
    page.locator('tr.chosen').click()
    assert pixels(page) == plain


def test_a_box_is_chosen_by_the_keyboard(page):
    page.locator('#objects tr').first.press('Enter')
    assert page.locator('tr.chosen').count() == 1
    page.locator('tr.chosen').press('Enter')
    assert page.locator('tr.chosen').count() == 0


def test_what_is_no_image_is_said_and_the_picture_stays(page):
    before, found = pixels(page), rows(page)
    upload(page, b'hello')
    page.wait_for_selector('#status.error')
    assert page.inner_text('#status') == 'This is no image that can be read.'
    assert pixels(page) == before
    assert rows(page) == found


def test_the_table_and_the_picture_are_saved(page, tmp_path):
    with page.expect_download() as table:
        page.click('#save-table')
    table.value.save_as(tmp_path / 'table.csv')
    assert table.value.suggested_filename == 'shapes_objects.csv'
    head, line, *_ = (tmp_path / 'table.csv').read_text().splitlines()
    assert head == 'class,score,x1,y1,x2,y2,query'
    assert line.startswith('"red",0.')
    assert line.endswith(',20.0,15.0,100.0,90.0,0')
    with page.expect_download() as image:
        page.click('#save-picture')
    assert image.value.suggested_filename == 'shapes_objects.png'


@pytest.mark.parametrize('width', [390, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size(dict(width=width, height=844))
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    canvas = page.locator('#canvas').bounding_box()
    assert canvas['x'] >= 0
    assert canvas['x'] + canvas['width'] <= width
