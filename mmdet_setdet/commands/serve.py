"""``setdet serve``: an exported detector as a page in the browser."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..runtime import Detector
from ..serve import DetectionServer, Limits, write_page

EXAMPLES = """examples:
  setdet serve model.onnx
  setdet serve model.onnx --port 9000 --threads 2
  setdet serve model.onnx --host 0.0.0.0        for everybody who can reach this machine
  setdet serve model.onnx --static site         a folder for any file server; the browser runs the model
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='setdet serve',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('model', help='exported model (.onnx or .xml)')
    parser.add_argument('--host', default='127.0.0.1', help='address (default: only this machine)')
    parser.add_argument('--port', type=int, default=8000, help='default: 8000')
    parser.add_argument('--threads', type=int, help='threads of the model (default: all cores)')
    limits = Limits()
    parser.add_argument(
        '--queue',
        type=int,
        default=limits.queue,
        help=f'images that may wait (default: {limits.queue})',
    )
    parser.add_argument(
        '--megabytes',
        type=float,
        default=limits.megabytes,
        help=f'largest file (default: {limits.megabytes})',
    )
    parser.add_argument(
        '--megapixels',
        type=float,
        default=limits.megapixels,
        help=f'largest image (default: {limits.megapixels})',
    )
    parser.add_argument(
        '--static',
        type=Path,
        metavar='FOLDER',
        help='serve nothing, but write the page and the model into a folder for any file server',
    )
    parser.add_argument(
        '--onnxruntime-web',
        type=Path,
        metavar='PACKAGE',
        help='with --static: the npm package, a .tgz or a folder (default: npm fetches it)',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C, or write the page without a server."""
    args = make_parser().parse_args(argv)
    if args.onnxruntime_web and not args.static:
        raise InputError('--onnxruntime-web is for a page without a server; add --static FOLDER')
    if args.static:
        write_page(Path(args.model), args.static, args.onnxruntime_web)
        size = sum(file.stat().st_size for file in args.static.iterdir())
        print(
            f'{args.static}: {size / 2**20:.1f} MiB; try it: python -m http.server -d {args.static}'
        )
    else:
        _serve(args)


def _serve(args: argparse.Namespace) -> None:
    detector = Detector(args.model, args.threads)
    limits = Limits(queue=args.queue, megabytes=args.megabytes, megapixels=args.megapixels)
    try:
        server = DetectionServer(detector, args.host, args.port, limits)
    except OSError as error:
        raise InputError(
            f'--host {args.host} --port {args.port}: {error.strerror}; choose another port by --port'
        ) from error
    host, port = server.server_address[:2]
    print(f'{detector.info.config} on http://{host}:{port}  (Ctrl-C ends it)', flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print('ended')
    finally:
        server.server_close()
