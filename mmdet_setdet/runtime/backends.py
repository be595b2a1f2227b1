"""The programs that run an exported model: ONNX Runtime and OpenVINO."""

from pathlib import Path

import numpy as np

from ..errors import InputError
from .metadata import KEY, ModelInfo

Tensors = dict[str, np.ndarray]


class OnnxSession:
    """A model in ONNX Runtime.

    Args:
        path (Path): The ``.onnx`` file.
        threads (int, optional): Number of threads; by default as many as there are cores.

    Raises:
        InputError: The file cannot be read, or ``mmdet_setdet`` has not exported it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # the classes of its errors are private
            raise InputError(f'{path}: ONNX Runtime cannot load it ({error})') from error
        self.info = _read_info(path, self.session.get_modelmeta().custom_metadata_map.get(KEY))
        self.inputs = {item.name for item in self.session.get_inputs()}
        self.outputs = [item.name for item in self.session.get_outputs()]

    def __call__(self, **tensors: np.ndarray) -> Tensors:
        """Run the model; inputs that it has not are left out."""
        feed = {name: tensor for name, tensor in tensors.items() if name in self.inputs}
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))


class OpenVinoSession:
    """A model in OpenVINO; arguments and errors as of :class:`OnnxSession`; the ``.bin`` lies beside the ``.xml``."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import openvino

        core = openvino.Core()
        # The default on many CPUs is half precision.
        settings: dict[str, object] = {
            'INFERENCE_PRECISION_HINT': 'f32',
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if threads:
            settings['INFERENCE_NUM_THREADS'] = threads
        try:
            model = core.read_model(path)
            self.model = core.compile_model(model, 'CPU', settings)
        except RuntimeError as error:
            raise InputError(f'{path}: OpenVINO cannot load it ({error})') from error
        text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        self.info = _read_info(path, text)
        self.inputs = {port.get_any_name() for port in model.inputs}

    def __call__(self, **tensors: np.ndarray) -> Tensors:
        """Run the model; inputs that it has not are left out."""
        feed = {name: tensor for name, tensor in tensors.items() if name in self.inputs}
        # A request of its own per call, so that threads do not disturb each other.
        results = self.model.create_infer_request().infer(feed)
        return {port.get_any_name(): array.copy() for port, array in results.items()}


def _read_info(path: Path, text: str | None) -> ModelInfo:
    if text is None:
        raise InputError(
            f'{path}: the file does not say how to prepare images for it; export the model with `setdet export`'
        )
    return ModelInfo.from_json(text)


Session = OnnxSession | OpenVinoSession
SESSIONS: dict[str, type[Session]] = {'.onnx': OnnxSession, '.xml': OpenVinoSession}


def open_session(path: Path, threads: int | None = None) -> Session:
    """Open an exported model with the program that its name asks for.

    Raises:
        InputError: There is no such file, its name has another ending, the program is not installed, or the file is
            broken.
    """
    if not path.is_file():
        raise InputError(f'{path}: no such file')
    if path.suffix not in SESSIONS:
        raise InputError(f'{path}: the name of an exported model ends in {" or ".join(SESSIONS)}')
    try:
        return SESSIONS[path.suffix](path, threads)
    except ModuleNotFoundError as error:
        raise InputError(
            f'{path}: {error.name} is not installed; pip install {error.name}'
        ) from error
