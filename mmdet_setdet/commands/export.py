"""``setdet export``: a model becomes a file that runs without mmcv and mmdet."""

import argparse
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch.export import ExportedProgram

from ..engine.command_line import add_config_options, load_config
from ..engine.models import build_model
from ..errors import InputError
from ..export import (
    PACKAGES,
    SUFFIXES,
    WRITERS,
    Graph,
    check_file,
    default_size,
    describe,
    fixed_sizes,
    make_graph,
    trace,
)
from ..runtime.backends import Tensors, open_session

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
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
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
        help='also what every query says after each decoder layer, for the page',
    )
    add_config_options(parser, 'settings of the config to replace')
    return parser


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says; return the file."""
    args = make_parser().parse_args(argv)
    missing = [name for name in PACKAGES[args.format] if not find_spec(name)]
    if missing:
        raise InputError(
            f"--format {args.format} needs {', '.join(missing)}; pip install 'mmdet-setdet[export]'"
        )
    out = args.out or Path(args.checkpoint).with_suffix(SUFFIXES[args.format])
    if out.suffix != SUFFIXES[args.format]:
        raise InputError(
            f'--out {out}: the name of a file of this format ends in {SUFFIXES[args.format]}'
        )

    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = build_model(cfg.model, args.checkpoint)
    graph = make_graph(model, args.raw, args.layers)
    dynamic = graph.choose_dynamic(args.dynamic)
    classes = model.dataset_meta.get('classes') or cfg.test_dataloader.dataset.metainfo.classes
    size = args.size or default_size(cfg, dynamic)
    info = describe(cfg, graph, classes, fixed=fixed_sizes(size, dynamic))

    print(f'Tracing {type(model).__name__} ...')
    program = trace(graph, size, dynamic)
    print(f'Writing {out} ...')
    WRITERS[args.format](program, graph, info, out)
    print('Comparing it with the model ...')
    differences = check_file(graph, _runner(program, graph, out), size, dynamic, str(out))
    for shape, difference in differences.items():
        print(f'  input {shape}: largest difference {difference:.1e}')
    print(
        f'{out}: {out.stat().st_size / 2**20:.1f} MiB, may change: {", ".join(dynamic) or "nothing"}'
    )
    return out


def _runner(program: ExportedProgram, graph: Graph, file: Path) -> Callable[..., Tensors]:
    """Return what runs a file, by arrays of numpy."""
    if file.suffix != SUFFIXES['torch']:
        return open_session(file)
    module = torch.export.load(file).module()

    def run(**arrays: np.ndarray) -> Tensors:
        outputs = module(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        return {name: output.detach().numpy() for name, output in zip(graph.outputs, outputs)}

    return run
