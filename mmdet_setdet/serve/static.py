"""The page as a folder for any file server: the model runs in the browser, by ONNX Runtime's package for it."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ..errors import InputError, one_line
from ..runtime import Detector
from .answers import describe_model
from .server import PAGE

LOCAL = PAGE.with_name('local')
PACKAGE = 'onnxruntime-web'
VERSION = '1.30.0'
# Of the package, and the names that every file server knows the type of.
RUNTIME_FILES = {
    'dist/ort.wasm.bundle.min.mjs': 'ort.js',
    'dist/ort-wasm-simd-threaded.wasm': 'ort.wasm',
}


def write_page(model: Path, folder: Path, package: Path | None = None) -> None:
    """Write the page, the model and what runs it into a folder.

    Args:
        model (Path): The exported ``.onnx`` file.
        folder (Path): The folder; files of an older page in it are replaced.
        package (Path, optional): The npm package onnxruntime-web, a ``.tgz`` file or a folder. By default npm fetches
            it.

    Raises:
        InputError: The model is of another kind, or the package cannot be had.
    """
    if model.suffix != '.onnx':
        raise InputError(f'{model}: browsers run .onnx alone; export the model with --format onnx')
    info = Detector(model, threads=1).info
    folder.mkdir(parents=True, exist_ok=True)
    if package is None:
        with tempfile.TemporaryDirectory() as place:
            _copy_runtime(_fetch(Path(place)), folder)
    else:
        _copy_runtime(package, folder)
    for part in (PAGE, LOCAL):
        shutil.copytree(part, folder, dirs_exist_ok=True)
    shutil.copyfile(model, folder / 'model.onnx')
    (folder / 'info.json').write_text(json.dumps(describe_model(info)))


def _fetch(place: Path) -> Path:
    advice = f'fetch it elsewhere by `npm pack {PACKAGE}@{VERSION}` and name it by --{PACKAGE}'
    command = ['npm', 'pack', f'{PACKAGE}@{VERSION}', '--pack-destination', str(place)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise InputError(f'{PACKAGE} comes by npm, which is not installed; {advice}') from None
    except subprocess.CalledProcessError as error:
        reason = one_line(error.stderr)
        raise InputError(f'npm could not fetch {PACKAGE}; {advice}. npm says: {reason}') from error
    return next(place.glob('*.tgz'))


def _copy_runtime(package: Path, folder: Path) -> None:
    try:
        if package.is_dir():
            for source, target in RUNTIME_FILES.items():
                shutil.copyfile(package / source, folder / target)
            return
        with tarfile.open(package) as archive:
            for source, target in RUNTIME_FILES.items():
                (folder / target).write_bytes(archive.extractfile(f'package/{source}').read())
    except (OSError, KeyError, tarfile.TarError) as error:
        raise InputError(
            f'{package}: not the npm package {PACKAGE} ({one_line(error)}); '
            f'get it by `npm pack {PACKAGE}@{VERSION}`'
        ) from error
