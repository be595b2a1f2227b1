"""``setdet export``: a model becomes a file that runs without mmcv and mmdet."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.registry import init_default_scope

from ..engine.command_line import add_config_options, load_config
from ..engine.models import build_model
from ..export import SUFFIXES, TOLERANCES, WRITERS, check_request, export_model

EXAMPLES = """examples:
  setdet export configs/dn_detr_r50_50e.py dn_detr_r50.pth
  setdet export configs/dn_detr_r50_50e.py dn_detr_r50.pth --format openvino --dynamic batch
  setdet export configs/dn_detr_crossformer_s_50e.py ckpt.pth --dynamic batch --size 800 1344
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog='setdet export',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('checkpoint', help='checkpoint file, or a name in SETDET_WEIGHTS')
    parser.add_argument('--format', choices=WRITERS, default='onnx', help='default: onnx')
    parser.add_argument(
        '--out', type=Path, help='the file to write (default: CHECKPOINT with another ending)'
    )
    parser.add_argument(
        '--dynamic',
        nargs='*',
        choices=['batch', 'height', 'width'],
        help='what may change from call to call (default: everything that the model allows)',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='of the input that is traced; the only one possible unless --dynamic names them (default: 800 1344, or '
        "the classifier's)",
    )
    parser.add_argument(
        '--raw',
        action='store_true',
        help='logits and boxes of all queries instead of the best boxes in pixels',
    )
    parser.add_argument(
        '--layers',
        action='store_true',
        help='also what every query says after each decoder layer and where it looks, for the page',
    )
    parser.add_argument(
        '--precision',
        choices=TOLERANCES,
        default='float32',
        help='float16: weights of half the size; int8: also computes with integers, onnx only (default: float32)',
    )
    add_config_options(parser, 'settings of the config to replace')
    return parser


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says; return the file."""
    args = make_parser().parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    out = args.out or Path(args.checkpoint).with_suffix(SUFFIXES[args.format])
    check_request(args.format, out, args.precision)
    model = build_model(cfg.model, args.checkpoint)
    differences = export_model(
        model,
        cfg,
        out,
        args.format,
        dynamic=args.dynamic,
        size=args.size,
        raw=args.raw,
        with_layers=args.layers,
        precision=args.precision,
    )
    for shape, difference in differences.items():
        print(f'  input {shape}: largest difference {difference:.1e}')
    # OpenVINO's weights have a file of their own.
    files = [out, out.with_suffix('.bin')] if args.format == 'openvino' else [out]
    size = sum(file.stat().st_size for file in files)
    print(f'{out}: {size / 2**20:.1f} MiB')
    return out
