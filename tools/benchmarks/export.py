"""Row "export": exported detectors, from normalised images to boxes in pixels, against torch."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_setdet.errors import InputError
from mmdet_setdet.export import SUFFIXES, export_model
from mmdet_setdet.export.check import difference
from mmdet_setdet.export.write import PACKAGES
from mmdet_setdet.runtime.backends import open_session

from .inference import in_evaluation
from .models import NUM_CLASSES, mmdet_model, our_config, perturb_weights, random_batch
from .options import Options
from .peers.transformers_detr import build_detr
from .timing import Case, Contender

# Our config, and mmdet's model beside it: the same one, or the nearest it has.
MODEL_PAIRS = {
    'DETR': ('detr_r50_150e', 'detr_r50_150e'),
    'DN-DETR': ('dn_detr_r50_50e', 'dab_detr_r50_50e'),
    'DN-Deformable-DETR': ('dn_deformable_detr_r50_50e', 'deformable_detr_r50_50e'),
}
RUNTIMES = dict(onnx='ONNX Runtime', openvino='OpenVINO')


def cases(options: Options) -> Iterator[Case]:
    """Yield each model in each runtime that is installed.

    Raises:
        InputError: The options ask for a GPU or half precision, or no runtime is installed.
    """
    if options.device != 'cpu' or options.dtype != 'float32':
        raise InputError('the row export is for --device cpu and --dtype float32')
    runtimes = [kind for kind in RUNTIMES if all(map(find_spec, PACKAGES[kind]))]
    if not runtimes:
        raise InputError("the row export needs pip install 'mmdet-setdet[export]'")
    height, width = options.size or (800, 1066)
    batch = random_batch(options, (height, width), [0] * (options.batch_size or 1))
    for name, (config, mmdet_config) in MODEL_PAIRS.items():
        mmdets = mmdet_model(mmdet_config, options)
        ours = build(config, options)
        if config == mmdet_config:
            ours.load_state_dict(mmdets.state_dict())
        peers = [
            torch_contender('ours in torch', ours, batch, options),
            torch_contender(f'mmdet {mmdet_config}', mmdets, batch, options),
        ]
        if config != mmdet_config:
            peers[1].outputs = None
        for kind in runtimes:
            theirs = transformers_contenders(name, kind, ours, batch, options)
            yield Case(
                f'{name} R50 in {RUNTIMES[kind]}, {len(batch[1])} x {height}x{width}',
                exported_contender(kind, ours, config, batch, options),
                [*peers, *theirs],
                partial(_difference, side=max(height, width)),
            )


def build(config: str, options: Options) -> nn.Module:
    """Build our model with random weights."""
    torch.manual_seed(options.seed)
    model = MODELS.build(our_config(config, options.model).model)
    perturb_weights(model, options.seed)
    model.dataset_meta = dict(classes=[str(label) for label in range(NUM_CLASSES)])
    return model


def torch_contender(name: str, model: nn.Module, batch: tuple, options: Options) -> Contender:
    """Return a model of ours or of mmdet as it is."""
    inputs, samples = batch
    predict = in_evaluation(model, lambda: model.predict(inputs, samples), options)

    def outputs() -> dict[str, np.ndarray]:
        found = [sample.pred_instances for sample in predict()]
        arrays = dict(boxes='bboxes', scores='scores', labels='labels')
        return {
            key: torch.stack([x[field] for x in found]).numpy() for key, field in arrays.items()
        }

    return Contender(name, predict, outputs)


def exported_contender(
    kind: str, model: nn.Module, config: str, batch: tuple, options: Options
) -> Contender:
    """Export our model and return its file in a runtime."""
    inputs, samples = batch
    arrays = dict(
        images=inputs.numpy(),
        sizes=np.array([sample.img_shape for sample in samples], dtype=np.int64),
    )
    write = partial(export_model, model.eval(), our_config(config, options.model), kind=kind)
    run = partial(session_of(kind, write), **arrays)
    return Contender('ours', run, run)


def session_of(kind: str, write: Callable[..., dict]) -> Callable[..., dict]:
    """Open the file that ``write(out=FILE)`` writes, with the threads of torch; the file itself is gone then."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f'model{SUFFIXES[kind]}')
        write(out=file)
        return open_session(file, torch.get_num_threads())


def transformers_contenders(
    name: str, kind: str, ours: nn.Module, batch: tuple, options: Options
) -> list[Contender]:
    """Return DETR of transformers, exported by torch for these images alone, if it is installed."""
    model = build_detr(options, ours.state_dict()) if name == 'DETR' else None
    if model is None:
        return []
    images = batch[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'model.onnx')
        torch.onnx.export(_WithoutDict(model).eval(), (images,), file, dynamo=True, verbose=False)
        run = _plain_session(kind, file, images.numpy())
    return [Contender(f'transformers in {RUNTIMES[kind]}', run)]


class _WithoutDict(nn.Module):
    """DETR of transformers with tensors as outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        predictions = self.model(images)
        return predictions.logits, predictions.pred_boxes


def _plain_session(kind: str, file: Path, images: np.ndarray) -> Callable:
    threads = torch.get_num_threads()
    if kind == 'openvino':
        import openvino

        settings = dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=threads)
        model = openvino.Core().compile_model(file, 'CPU', settings)
        return partial(model, images)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return partial(session.run, None, {session.get_inputs()[0].name: images})


def _difference(exported: dict, others: dict, side: int) -> float:
    return difference(others, exported, side)
