"""Pictures in the network."""

import http.client
import io
from pathlib import PurePosixPath
from typing import TypeGuard
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from ..errors import InputError, one_line
from ..version import __version__

MEGABYTES = 20  # of an image file
SECONDS = 30  # that a server may be silent


def is_address(picture: object) -> TypeGuard[str]:
    """Return whether it is text that begins with ``http://`` or ``https://``."""
    return isinstance(picture, str) and picture.lower().startswith(('http://', 'https://'))


def file_name(address: str) -> str:
    """Return the last part of the path in an address, perhaps nothing.

    Raises:
        InputError: It is no address.
    """
    try:
        path = urlsplit(address).path
    except ValueError as error:
        raise InputError(f'{address}: not an address ({error})') from error
    return PurePosixPath(unquote(path)).name


def fetched(address: str) -> io.BytesIO:
    """Return the content of the file at an address.

    Raises:
        InputError: The server does not answer or refuses, or the file is larger than :data:`MEGABYTES`.
    """
    limit = int(MEGABYTES * 1e6)
    try:
        request = Request(address, headers={'User-Agent': f'mmdet_setdet/{__version__}'})
        with urlopen(request, timeout=SECONDS) as response:
            data = response.read(limit + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f'{address}: cannot be fetched ({one_line(error)})') from error
    if len(data) > limit:
        raise InputError(
            f'{address}: larger than {MEGABYTES:g} MB; download it and give the name of the file'
        )
    return io.BytesIO(data)
