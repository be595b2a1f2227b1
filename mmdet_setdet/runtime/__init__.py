"""Inference with exported models: numpy, Pillow and ONNX Runtime or OpenVINO, without torch and mmcv.

``Detector('model.onnx')('photo.jpg')`` returns :class:`Detections`.
"""

from .detections import Detections, Layers
from .detector import Detector
from .metadata import ModelInfo

__all__ = ['Detections', 'Detector', 'Layers', 'ModelInfo']
