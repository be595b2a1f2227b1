"""Export of a model from beginning to end: trace, describe, write, compare."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn
from torch.export import ExportedProgram

from ..errors import InputError
from ..runtime.backends import Tensors, open_session
from .check import check_file
from .describe import class_names, default_size, describe, fixed_sizes
from .graphs import Graph, make_graph
from .precision import TOLERANCES, check_precision
from .write import PACKAGES, SUFFIXES, WRITERS, trace


def check_request(kind: str, out: Path, precision: str = 'float32') -> None:
    """Check what can be checked before any work.

    Args:
        kind (str): 'onnx', 'openvino' or 'torch'.
        out (Path): The file to write.
        precision (str): 'float32', 'float16' or 'int8'.

    Raises:
        InputError: A package is missing, the name has another ending than files of this kind, or these cannot have the
            precision.
    """
    check_precision(precision, kind)
    missing = [name for name in PACKAGES[kind] if not find_spec(name)]
    if missing:
        raise InputError(f"{kind} needs {', '.join(missing)}; pip install 'mmdet-setdet[export]'")
    if out.suffix != SUFFIXES[kind]:
        raise InputError(f'{out}: the name of a file of {kind} ends in {SUFFIXES[kind]}')


def export_model(
    model: nn.Module,
    cfg: Config,
    out: Path,
    kind: str = 'onnx',
    dynamic: Sequence[str] | None = None,
    size: Sequence[int] | None = None,
    raw: bool = False,
    with_layers: bool = False,
    precision: str = 'float32',
) -> dict[str, float]:
    """Write a model to a file, and compare the file with it.

    Args:
        model (nn.Module): A detector or classifier, on the CPU.
        cfg (Config): Its config.
        out (Path): The file to write.
        kind (str): 'onnx', 'openvino' or 'torch'.
        dynamic (Sequence[str], optional): What may change from call to call, of 'batch', 'height' and 'width'. Default:
            everything that the model allows.
        size (Sequence[int], optional): Height and width of the traced input.
        raw (bool): See :class:`SetGraph`.
        with_layers (bool): See :class:`SetGraph`.
        precision (str): 'float32'; 'float16' for weights of half the size, see :func:`halve_weights`; or 'int8', see
            :func:`quantize_products`.

    Returns:
        dict[str, float]: The largest difference between file and model of each compared input shape.

    Raises:
        InputError: The model cannot be exported so, or the file computes something else.
    """
    check_request(kind, out, precision)
    graph = make_graph(model, raw, with_layers)
    dynamic = graph.choose_dynamic(dynamic)
    size = tuple(size or default_size(cfg, dynamic))
    info = describe(cfg, graph, class_names(model, cfg), fixed_sizes(size, dynamic), precision)
    print_log(f'Tracing {type(model).__name__}; {", ".join(dynamic) or "nothing"} may change ...')
    program = trace(graph, size, dynamic)
    print_log(f'Writing {out} ...')
    WRITERS[kind](program, graph, info, out)
    print_log('Comparing it with the model ...')
    run = _runner(graph, out)
    return check_file(graph, run, size, dynamic, str(out), TOLERANCES[precision])


def _runner(graph: Graph, file: Path) -> Callable[..., Tensors]:
    """Return what runs a file, by arrays of numpy."""
    if file.suffix != SUFFIXES['torch']:
        return open_session(file)
    program: ExportedProgram = torch.export.load(file)
    module = program.module()

    def run(**arrays: np.ndarray) -> Tensors:
        outputs = module(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        return {name: output.detach().numpy() for name, output in zip(graph.outputs, outputs)}

    return run
