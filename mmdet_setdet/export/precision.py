"""Smaller files: weights in half precision, and products of 8-bit integers."""

from pathlib import Path

import numpy as np

from ..errors import InputError

# The largest difference of scores, and of boxes as a share of the image, that a file of each precision may have.
TOLERANCES = dict(float32=1e-3, float16=1e-2, int8=1e-1)
POSSIBLE = dict(
    onnx=('float32', 'float16', 'int8'),
    openvino=('float32', 'float16'),
    torch=('float32',),
)
HALF_ERROR = 2e-3  # numbers below 4 are rounded by no more
SMALLEST = 256  # numbers; fewer are not worth the conversion


def check_precision(precision: str, kind: str) -> None:
    """Check that files of a kind can have a precision.

    Raises:
        InputError: They cannot.
    """
    if precision not in POSSIBLE[kind]:
        possible = ' or '.join(POSSIBLE[kind])
        raise InputError(f'--precision {precision}: --format {kind} can only write {possible}')


def halve_weights(model) -> None:
    """Store the weights of an ONNX model in float16; whoever loads the file turns them back.

    It still computes in float32: few CPUs have faster half precision, and position embeddings lose too much by it.
    Constants that float16 would change by more than ``HALF_ERROR``, such as anchors in pixels, stay as they are.

    Args:
        model (onnx_ir.Model): It is changed in place.
    """
    import onnx_ir as ir

    graph = model.graph
    for weight in list(graph.initializers.values()):
        numbers = weight.const_value.numpy()
        if numbers.dtype != np.float32 or numbers.size < SMALLEST:
            continue
        half = numbers.astype(np.float16)
        if not np.abs(half - numbers).max() <= HALF_ERROR:
            continue
        name = f'{weight.name}.half'
        stored = ir.Value(name=name, const_value=ir.tensor(half, name=name))
        cast = ir.node('Cast', [stored], dict(to=ir.DataType.FLOAT))
        weight.replace_all_uses_with(cast.outputs[0])
        graph.initializers.pop(weight.name)
        graph.register_initializer(stored)
        graph.insert_before(graph[0], cast)


def quantize_products(file: Path) -> None:
    """Replace the products with weights in an ONNX file by products of 8-bit integers.

    Weights have a scale for each output channel; the other factor is rounded as its range in the call asks for.
    Convolutions stay as they are: without known ranges those of integers are slower than those of float32.
    """
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Folds constants: otherwise weights that are cut in parts would not be found.
    quant_pre_process(file, file, skip_symbolic_shape=True)
    quantize_dynamic(file, file, op_types_to_quantize=['MatMul', 'Gemm'], per_channel=True)
