"""The server of the page: images in, boxes out as JSON.

.. code:: text

    GET  /          the page                    GET  /info.json    what the file says of the model
    POST /detect    the bytes of an image -> its objects, see page/detect.js

One image is read and computed at a time, by all threads of the model; others wait in a queue of limited length. Whoever
comes when it is full is told so (503) and may come again, so that memory stays as it is whatever arrives.
"""

import io
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..runtime import Detector
from ..runtime.addresses import MEGABYTES
from ..runtime.images import read_image
from .answers import LEAST_SCORE, describe_model, describe_objects

PAGE = Path(__file__).parent / 'page'
FILES = {f'/{file.name}': file for file in PAGE.iterdir()}
FILES['/'] = PAGE / 'index.html'
KINDS = {'.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript'}
# The page loads nothing from elsewhere, and nobody may put it into a frame.
SECURITY = {
    'Content-Security-Policy': "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
}


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        queue (int): Requests that are computed or wait; others get 503.
        megabytes (float): Size of an image file; larger ones get 413.
        megapixels (float): Size of the image itself; larger ones get 413.
        seconds (float): A client that is silent for so long is cut off.
    """

    queue: int = 32
    megabytes: float = MEGABYTES
    megapixels: float = 50
    seconds: float = 30


class RequestError(Exception):
    """A request that is refused, with its status and a sentence for the user."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class DetectionServer(ThreadingHTTPServer):
    """Serves the page and one detector.

    Args:
        detector (Detector): The exported model.
        host (str): Address to listen at; by default only this machine can connect.
        port (int): Port; 0 takes a free one, see ``server_address``.
        limits (Limits): What a request may cost.
        least_score (float): Boxes below it are not sent.
    """

    daemon_threads = True
    request_queue_size = 256  # connections that the system keeps until a thread takes them

    def __init__(
        self,
        detector: Detector,
        host: str = '127.0.0.1',
        port: int = 8000,
        limits: Limits | None = None,
        least_score: float = LEAST_SCORE,
    ) -> None:
        super().__init__((host, port), _Handler)
        self.detector = detector
        self.limits = limits or Limits()
        self.least_score = least_score
        self.places = threading.BoundedSemaphore(self.limits.queue)
        self.turn = threading.Lock()

    def detect(self, data: bytes) -> dict:
        """Return the answer to an image file.

        Raises:
            RequestError: It is no image, or too large.
        """
        with self.turn:
            image = self._decode(data)
            found = self.detector(image, self.least_score)
        return describe_objects(found, *image.shape[:2])

    def _decode(self, data: bytes) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > self.limits.megapixels * 1e6:
                    raise Image.DecompressionBombError
                return read_image(image)
        except Image.DecompressionBombError:
            limit = self.limits.megapixels
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f'The image is too large; {limit:g} million pixels are allowed.',
            ) from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            raise RequestError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 'This is no image that can be read.'
            ) from None

    def info(self) -> dict:
        """Return what the page shows of the model."""
        return describe_model(self.detector.info, self.least_score)


class _Handler(BaseHTTPRequestHandler):
    server: DetectionServer
    protocol_version = 'HTTP/1.1'
    server_version = 'setdet'
    sys_version = ''

    def setup(self) -> None:
        self.timeout = self.server.limits.seconds
        super().setup()

    def do_GET(self) -> None:
        path = self.path.partition('?')[0]
        if path == '/info.json':
            self._send_json(HTTPStatus.OK, self.server.info())
        elif path in FILES:
            file = FILES[path]
            kind = f'{KINDS[file.suffix]}; charset=utf-8'
            self._send(HTTPStatus.OK, file.read_bytes(), kind)
        else:
            self._send_json(HTTPStatus.NOT_FOUND, dict(error='There is nothing here.'))

    def do_POST(self) -> None:
        try:
            if self.path != '/detect':
                raise RequestError(HTTPStatus.NOT_FOUND, 'There is nothing here.')
            if not self.server.places.acquire(blocking=False):
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    'Too many images are waiting; try again in a moment.',
                )
            try:
                answer = self.server.detect(self._read_body())
            finally:
                self.server.places.release()
        except RequestError as error:
            self.close_connection = True
            self._send_json(error.status, dict(error=str(error)))
            self._drop_the_rest()
        except TimeoutError:
            self.close_connection = True
        except Exception as error:
            self.close_connection = True
            self.log_error('%s', error)
            message = dict(error='The model failed on this image.')
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        else:
            self._send_json(HTTPStatus.OK, answer)

    def _read_body(self) -> bytes:
        try:
            length = int(self.headers.get('Content-Length', ''))
        except ValueError:
            raise RequestError(
                HTTPStatus.LENGTH_REQUIRED, 'The request does not say how long it is.'
            ) from None
        limit = self.server.limits.megabytes
        if not 0 <= length <= limit * 1e6:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f'The file is larger than {limit:g} MB.'
            )
        data = self.rfile.read(length)
        if len(data) < length:
            raise RequestError(HTTPStatus.BAD_REQUEST, 'The file was not sent to its end.')
        return data

    def _drop_the_rest(self) -> None:
        """Read what the client still sends: closing earlier would reset the connection, and lose the answer with it."""
        end = time.monotonic() + self.server.limits.seconds
        with suppress(OSError):  # the client may be gone
            self.connection.shutdown(socket.SHUT_WR)
            while time.monotonic() < end and self.rfile.read1(2**16):
                pass

    def _send_json(self, status: HTTPStatus, content: dict) -> None:
        self._send(status, json.dumps(content).encode(), 'application/json')

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        for name, value in SECURITY.items():
            self.send_header(name, value)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header('Retry-After', '1')
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *args) -> None:
        """Log errors alone, and no path of this machine."""

    def log_error(self, form: str, *args) -> None:
        super().log_message(form, *args)
