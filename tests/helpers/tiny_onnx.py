"""Exported detectors small enough to be written by hand: they find colours, and have all that the page can show."""

from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper, save

from mmdet_setdet.runtime import ModelInfo
from mmdet_setdet.runtime.metadata import KEY

CLASSES = ['red', 'green', 'blue']
CELL = 16
# The box of each class after the first layer and after the last, as shares of the image.
FIRST_BOXES = [[0.0, 0.0, 1.0, 1.0]] * 3
LAST_BOXES = [[0.1, 0.1, 0.5, 0.6], [0.5, 0.2, 0.9, 0.9], [0.2, 0.6, 0.5, 0.9]]
NMS = dict(
    score_thr=0.3,
    nms_pre=20,
    drops_empty=False,
    iou_threshold=0.8,
    max_per_img=9,
    strides=[CELL],
    priors_per_cell=1,
    one_per_cell=False,
)
CELLS = dict(kernel_shape=[CELL, CELL], strides=[CELL, CELL])


def model_info(**changes) -> ModelInfo:
    """Return how images are prepared for these models: values from -1 to 1."""
    grey = [127.5] * 3
    fields = dict(config='colours', version='0', classes=CLASSES, mean=grey, std=grey, rgb=True)
    fields.update(resize='detr', scale=[96, 64], filter='bilinear', size_divisor=32)
    return ModelInfo(**{**fields, **changes})


def write_set_model(path: Path, **info) -> None:
    """Write a model of three queries and two layers, with attention; the score is how much there is of a colour."""
    nodes = [
        *_sides(),
        _node('GlobalAveragePool', 'images', 'shares'),
        _node('Flatten', 'shares', 'flat'),
        _node('Mul', 'flat four', 'logits'),
        _node('Sigmoid', 'logits', 'scores'),
        _node('Mul', 'last_boxes sides', 'boxes'),
        _node('Identity', 'numbers', 'labels'),
        _node('Identity', 'numbers', 'queries'),
        _node('Mul', 'all_boxes sides', 'layer_boxes'),
        _node('Mul', 'scores half', 'first_scores'),
        _node('Concat', 'first_scores scores', 'both_scores', axis=0),
        _node('Unsqueeze', 'both_scores zero', 'layer_scores'),
        _node('Concat', 'numbers numbers', 'both_labels', axis=0),
        _node('Unsqueeze', 'both_labels zero', 'layer_labels'),
        _node('AveragePool', 'images', 'cells', **CELLS),
        _node('Sigmoid', 'cells', 'attention'),
    ]
    constants = dict(
        last_boxes=np.float32([LAST_BOXES]),
        all_boxes=np.float32([[FIRST_BOXES, LAST_BOXES]]),
        numbers=np.array([[0, 1, 2]]),
        four=np.float32(4),
        half=np.float32(0.5),
        zero=np.array([0]),
    )
    floats = ['boxes', 'scores', 'layer_boxes', 'layer_scores', 'attention']
    _write(path, nodes, constants, floats, ['labels', 'queries', 'layer_labels'], info)


def write_dense_model(path: Path, **info) -> None:
    """Write a model of a box for each cell and a score for each class, of which NMS keeps some."""
    nodes = [
        *_sides(),
        _node('AveragePool', 'images', 'cells', **CELLS),
        _node('Transpose', 'cells', 'by_cell', perm=[0, 2, 3, 1]),
        _node('Reshape', 'by_cell rows', 'logits'),
        _node('Sigmoid', 'logits', 'scores'),
        _node('Slice', 'scores zero two two', 'corner'),
        _node('Mul', 'corner half', 'low'),
        _node('Add', 'low half', 'high'),
        _node('Concat', 'low high', 'corners', axis=2),
        _node('Mul', 'corners sides', 'boxes'),
    ]
    constants = dict(
        rows=np.array([1, -1, 3]),
        half=np.float32(0.5),
        zero=np.array([0]),
        two=np.array([2]),
    )
    _write(path, nodes, constants, ['boxes', 'scores'], [], dict(nms=NMS, **info))


def _sides() -> list[NodeProto]:
    """Width, height, width, height of the image, (1, 1, 4)."""
    return [
        _node('Gather', 'sizes width_height', 'whole_sides', axis=1),
        _node('Cast', 'whole_sides', 'flat_sides', to=TensorProto.FLOAT),
        _node('Unsqueeze', 'flat_sides first_axis', 'sides'),
    ]


def _node(kind: str, inputs: str, output: str, **attributes) -> NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def _write(path, nodes, constants, floats, integers, info) -> None:
    constants.update(width_height=np.array([1, 0, 1, 0]), first_axis=np.array([1]))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in floats]
    outputs += [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in integers]
    image = ['batch', 3, 'height', 'width']
    inputs = [
        helper.make_tensor_value_info('images', TensorProto.FLOAT, image),
        helper.make_tensor_value_info('sizes', TensorProto.INT64, ['batch', 2]),
    ]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, 'colours', inputs, outputs, initial)
    opset = helper.make_opsetid('', 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    helper.set_model_props(model, {KEY: model_info(**info).to_json()})
    save(model, path)
