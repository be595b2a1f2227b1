"""A browser for the tests of the page, and the pictures that they show it."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

FLAGS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]


@pytest.fixture(scope='session')
def browser():
    """Chromium; tests are skipped where it or Playwright is missing."""
    playwright = pytest.importorskip('playwright.sync_api', reason='Playwright is not installed')
    program = shutil.which('chromium') or shutil.which('google-chrome')
    if program is None:
        pytest.skip('chromium is not installed')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    """A new tab; whatever the page complains of in the console fails the test."""
    context = browser.new_context(viewport=dict(width=1200, height=800))
    tab = context.new_page()
    complaints = []
    tab.on('console', lambda message: complaints.append(message.text))
    tab.on('pageerror', lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert complaints == []


@pytest.fixture(scope='session')
def picture():
    """The bytes of a PNG whose colours change from pixel to pixel, most are red, fewer blue, and fewest green."""
    rows, columns = np.mgrid[:150, :200]
    noise = np.random.default_rng(0).integers(0, 40, (150, 200))
    red, green, blue = 255 - rows // 3, rows, columns
    pixels = np.stack([red - noise, green, blue + noise], -1).clip(0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, 'png')
    return file.getvalue()
