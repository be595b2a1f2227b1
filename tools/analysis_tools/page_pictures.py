#!/usr/bin/env python
"""Take the pictures of the page for the documentation: on a desk, in the dark and on a phone, with one box chosen.

.. code:: text

    python tools/analysis_tools/page_pictures.py model.onnx photo.jpg --out docs/images/serve.jpg

It needs Playwright (``pip install playwright``) and Debian's chromium. Export the model with ``--layers``.
"""

import argparse
import io
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from mmdet_setdet.engine.command_line import run
from mmdet_setdet.runtime import Detector
from mmdet_setdet.serve import DetectionServer

DESK, PHONE = (1200, 720), (390, 844)
VIEWS = [(DESK, 'light'), (DESK, 'dark'), (PHONE, 'light')]
GAP = 12


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', help='exported model')
    parser.add_argument('image', help='the picture to detect in')
    parser.add_argument('--score', type=float, default=0.3, help='least score (default: 0.3)')
    parser.add_argument('--chosen', type=int, default=0, help='row of the chosen box (default: 0)')
    parser.add_argument('--out', type=Path, default=Path('serve.jpg'), help='the file to write')
    parser.add_argument('--height', type=int, default=520, help='its height (default: 520)')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Take the pictures and write them side by side."""
    args = make_parser().parse_args(argv)
    server = DetectionServer(Detector(args.model), port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as driver:
        program = shutil.which('chromium')
        browser = driver.chromium.launch(executable_path=program, args=['--no-sandbox'])
        shots = [take(browser, server.server_address[1], args, *view) for view in VIEWS]
        browser.close()
    server.shutdown()
    side_by_side(shots, args.height).save(args.out, quality=80)
    print(args.out)


def take(
    browser: Browser, port: int, args: argparse.Namespace, size: tuple[int, int], scheme: str
) -> Image.Image:
    """Return what a window of a size shows of the image, in a light or dark scheme."""
    viewport = dict(width=size[0], height=size[1])
    page = browser.new_page(viewport=viewport, color_scheme=scheme, device_scale_factor=2)
    page.goto(f'http://127.0.0.1:{port}')
    page.set_input_files('#file', args.image)
    page.locator('#score').fill(str(args.score))
    page.locator('#objects tr').nth(args.chosen).click()
    shot = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    return shot


def side_by_side(shots: Sequence[Image.Image], height: int) -> Image.Image:
    """Return pictures of one height, in a row."""
    shots = [shot.resize((shot.width * height // shot.height, height)) for shot in shots]
    width = sum(shot.width for shot in shots) + GAP * (len(shots) - 1)
    row = Image.new('RGB', (width, height), 'white')
    left = 0
    for shot in shots:
        row.paste(shot, (left, 0))
        left += shot.width + GAP
    return row


if __name__ == '__main__':
    run(main)
