"""Write a model to a file that other programs run, and check that it computes there what it computes here."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from ..errors import InputError
from ..runtime.metadata import KEY, ModelInfo
from .graphs import Graph
from .precision import halve_weights, quantize_products

AXES = dict(batch=0, height=2, width=3)
OPSET = 20


def trace(graph: Graph, size: tuple[int, int], dynamic: Sequence[str]) -> ExportedProgram:
    """Trace a graph.

    Args:
        graph (Graph): The model.
        size (tuple[int, int]): Height and width of the example input.
        dynamic (Sequence[str]): Which of 'batch', 'height' and 'width' may change later.

    Raises:
        InputError: The model does not allow one of them to change.
    """
    images = torch.randn(2 if 'batch' in dynamic else 1, 3, *size)
    free = {AXES[name]: Dim.DYNAMIC for name in dynamic}
    inputs = dict(images=images)
    shapes = dict(images=free)
    if 'sizes' in graph.forward.__code__.co_varnames:
        inputs['sizes'] = torch.tensor([images.shape[2:]] * len(images))
        shapes['sizes'] = {0: Dim.DYNAMIC} if 'batch' in dynamic else {}
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(graph, (), inputs, dynamic_shapes=shapes, strict=False)
    except (torch._dynamo.exc.UserError, ValueError) as error:
        raise InputError(
            f'{type(graph.model).__name__} cannot change its {", ".join(dynamic)} once it is exported; leave some of '
            f'them out of --dynamic. torch says: {_first_line(error)}'
        ) from error


def write_torch(program: ExportedProgram, graph: Graph, info: ModelInfo, path: Path) -> None:
    """Write ``.pt2``, which ``torch.export.load`` reads; the description is the extra file ``mmdet_setdet``."""
    torch.export.save(program, path, extra_files={KEY: info.to_json()})


def write_onnx(program: ExportedProgram, graph: Graph, info: ModelInfo, path: Path) -> None:
    """Write ``.onnx`` of opset 20 with its weights inside, in ``info.precision``."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    inputs = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind.name == 'USER_INPUT'
    ]
    with _quiet():
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=graph.outputs,
            verbose=False,
        )
    model = onnx_program.model
    # Which lines of which files on this machine every node comes from.
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props[KEY] = info.to_json()
    if info.precision == 'float16':
        halve_weights(model)
    onnx_program.save(path, external_data=False)
    if info.precision == 'int8':
        with _quiet():
            quantize_products(path)


def write_openvino(program: ExportedProgram, graph: Graph, info: ModelInfo, path: Path) -> None:
    """Write ``.xml`` and ``.bin`` by way of ONNX; the weights are kept in ``info.precision``."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder, 'model.onnx')
        write_onnx(program, graph, replace(info, precision='float32'), onnx_file)
        model = openvino.convert_model(onnx_file)
    model.set_rt_info(info.to_json(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=info.precision == 'float16')


WRITERS: dict[str, Callable] = dict(onnx=write_onnx, openvino=write_openvino, torch=write_torch)
SUFFIXES = dict(onnx='.onnx', openvino='.xml', torch='.pt2')
PACKAGES = dict(
    onnx=('onnx', 'onnxscript', 'onnxruntime'),
    openvino=('onnx', 'onnxscript', 'openvino'),
    torch=(),
)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on packages that are not needed off the screen."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
