"""DETR and DN-DETR as their authors wrote them: plain checkouts (:mod:`.checkouts`), run unchanged.

Their code requires torchvision. Install it with ``pip install --no-deps`` beside this project's environment, because a
plain install would replace torch. Without checkouts or torchvision these peers are left out.
"""

import importlib
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmdet_setdet.checkpoints.key_maps import our_name
from mmdet_setdet.models.ground_truths import GroundTruths

from ..models import our_config
from ..options import Options
from .checkouts import find_checkout

# DN-DETR's deformable parts, which are not used here, import a compiled operator.
OPERATOR = 'MultiScaleDeformableAttention'
# The checkout of each of their models.
CHECKOUTS = {'detr': 'detr', 'detr-panoptic': 'detr', 'dn-detr': 'dn-detr'}
# Both code bases give their top-level modules these names.
OWN_MODULES = ('models', 'util', 'main', 'datasets', 'engine', OPERATOR)


def load_detr(options: Options, weights: dict[str, Tensor]) -> 'AuthorsModel | None':
    """Return the DETR of facebookresearch/detr with our weights, None where it is not available."""
    return AuthorsModel.load('detr', 'detr_r50_150e', options, weights)


def load_detr_instance(options: Options, weights: dict[str, Tensor]) -> 'AuthorsModel | None':
    """Return the same with its mask head, on a frozen detector; None where it is not available."""
    return AuthorsModel.load('detr-panoptic', 'detr_r50_instance', options, weights)


def load_dn_detr(options: Options, weights: dict[str, Tensor]) -> 'AuthorsModel | None':
    """Return the DAB part of IDEA-Research/DN-DETR, without noise, with our weights; None where not available."""
    return AuthorsModel.load('dn-detr', 'dn_detr_r50_50e', options, weights)


def load_dn_detr_matcher(options: Options) -> nn.Module | None:
    """Return the matcher of IDEA-Research/DN-DETR, None where it is not available."""
    authors = AuthorsModel.load('dn-detr', 'dn_detr_r50_50e', options)
    return None if authors is None else authors.criterion.matcher


def as_targets(samples: list[DetDataSample]) -> list[dict[str, Tensor]]:
    """Return the ground truths of each image in the form that the authors' code expects."""
    gts = GroundTruths.from_samples(samples)
    targets = []
    for labels, boxes, count in zip(gts.labels, gts.boxes, gts.counts):
        targets.append(dict(labels=labels[:count], boxes=boxes[:count]))
    if gts.image_masks:
        for target, masks, count in zip(targets, gts.masks, gts.counts):
            target['masks'] = masks[:count]
    return targets


def load_coco_detection(folder: str, annotations: str, split: str):
    """Return the data set of facebookresearch/detr with its transforms, None where it is not available.

    Args:
        folder (str): Where the images are.
        annotations (str): COCO's annotation file.
        split (str): 'train' or 'val'.
    """

    def build(checkout: Path):
        with _importing(checkout), redirect_stdout(io.StringIO()):
            coco = importlib.import_module('datasets.coco')
            transforms = coco.make_coco_transforms(split)
            return coco.CocoDetection(folder, annotations, transforms, return_masks=False)

    return _if_available('detr', build)


def _if_available(code: str, build: Callable[[Path], Any]) -> Any:
    """Return what ``build`` makes of a checkout, None where it is missing or cannot be imported."""
    checkout = find_checkout(code)
    if checkout is None:
        return None
    try:
        return build(checkout)
    except ImportError as error:
        warnings.warn(f'{checkout} is left out: {error}', stacklevel=3)
        return None


class AuthorsModel:
    """A model of the authors with its criterion and post-processing.

    Args:
        code (str): 'detr', 'detr-panoptic' or 'dn-detr'.
        arguments (list[str]): Their command line.
        device (str): 'cpu' or 'cuda'.
    """

    def __init__(self, code: str, arguments: list[str], device: str) -> None:
        self.code = code
        self.device = device
        with _importing(find_checkout(CHECKOUTS[code])), self._on_device():
            main = importlib.import_module('main')
            models = importlib.import_module('models')
            self.args = main.get_args_parser().parse_args(arguments)
            build = models.build_DABDETR if code == 'dn-detr' else models.build_model
            self.model, self.criterion, post_processors = build(self.args)
            self.nested_tensor = importlib.import_module('util.misc').NestedTensor
        self.post_process = post_processors['bbox']
        self.post_process_masks = post_processors.get('segm')
        self.model.to(device)
        self.criterion.to(device)

    @classmethod
    def load(
        cls, code: str, config: str, options: Options, weights: dict[str, Tensor] | None = None
    ) -> 'AuthorsModel | None':
        """Build their model as our config describes it.

        Args:
            code (str): 'detr', 'detr-panoptic' or 'dn-detr'.
            config (str): Name of our config.
            options (Options): Device, and changes of the model.
            weights (dict[str, Tensor], optional): Our state dict, loaded under their names.

        Returns:
            AuthorsModel | None: None where their code is missing or cannot be imported.
        """

        def build(checkout: Path) -> AuthorsModel:
            model = our_config(config, options.model).model
            return cls(code, _command_line(code, model, options.device), options.device)

        authors = _if_available(CHECKOUTS[code], build)
        if authors is not None and weights is not None:
            names = authors.model.state_dict()
            authors.model.load_state_dict({name: weights[our_name(code, name)] for name in names})
        return authors

    def __call__(self, inputs: Tensor, targets: list[dict] | None = None):
        """Return their model's outputs for images without padding; in training also what denoising needs later."""
        batch_size, _, height, width = inputs.shape
        padding = inputs.new_zeros(batch_size, height, width, dtype=torch.bool)
        images = self.nested_tensor(inputs, padding)
        with self._on_device():
            if self.code != 'dn-detr':
                return self.model(images)
            patterns = self.args.num_patterns
            if targets is None:
                outputs, _ = self.model(images, dn_args=patterns)
                return outputs
            noise = (self.args.scalar, self.args.label_noise_scale, self.args.box_noise_scale)
            return self.model(images, dn_args=(targets, *noise, patterns))

    def loss(self, inputs: Tensor, samples: list[DetDataSample]) -> Tensor:
        """Return the total loss."""
        targets = as_targets(samples)
        outputs = self(inputs, targets)
        arguments = outputs if self.code == 'dn-detr' else [outputs]
        outputs, *denoising = arguments
        with self._on_device():
            losses = self.criterion(outputs, targets, *denoising)
        weights = self.criterion.weight_dict
        return sum(losses[name] * weights[name] for name in losses if name in weights)

    def predict(self, inputs: Tensor, samples: list[DetDataSample]) -> list[dict[str, Tensor]]:
        """Return boxes in pixels, scores, labels and, with a mask head, masks of each image."""
        sizes = torch.tensor([sample.ori_shape for sample in samples], device=self.device)
        outputs = self(inputs)
        results = self.post_process(outputs, sizes)
        if self.post_process_masks is not None:
            results = self.post_process_masks(results, outputs, sizes, sizes)
        return results

    def _on_device(self):
        """On a CPU, make calls of ``.cuda()`` and ``.to('cuda')`` do nothing."""
        if self.device != 'cpu':
            return nullcontext()
        original_to = torch.Tensor.to

        def to_cpu(tensor: Tensor, *args, **kwargs) -> Tensor:
            args = ['cpu' if argument == 'cuda' else argument for argument in args]
            return original_to(tensor, *args, **kwargs)

        def stay(tensor: Tensor, *args, **kwargs) -> Tensor:
            return tensor

        return mock.patch.multiple(torch.Tensor, cuda=stay, to=to_cpu)


def _command_line(code: str, model: dict, device: str) -> list[str]:
    """Return the arguments of their program for the model of one of our configs."""
    arguments = [
        '--coco_path',
        '-',
        '--device',
        device,
        '--num_queries',
        model.num_queries,
        '--backbone',
        f'resnet{model.backbone.depth}',
        '--enc_layers',
        model.encoder.num_layers,
        '--dec_layers',
        model.decoder.num_layers,
    ]
    if code == 'dn-detr':
        arguments += [
            '-m',
            'dn_dab_detr',
            '--use_dn',
            '--label_noise_scale',
            0,
            '--box_noise_scale',
            0,
        ]
    if code == 'detr-panoptic':
        # A file that would be loaded later, by their program: here it says only that the detector is frozen.
        arguments += ['--masks', '--frozen_weights', '-', '--dropout', 0]
    return [str(argument) for argument in arguments]


@contextmanager
def _importing(path: Path) -> Iterator[None]:
    """Let the authors' modules be imported from ``path``, and forget their names again."""
    torchvision = _import_torchvision()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, 'path', [str(path), *sys.path]))
        stack.enter_context(_forgotten(OWN_MODULES))
        sys.modules[OPERATOR] = types.ModuleType(OPERATOR)
        for name in ('resnet18', 'resnet50', 'resnet101'):
            build = _without_download(getattr(torchvision.models, name))
            stack.enter_context(mock.patch.object(torchvision.models, name, build))
        yield


def _without_download(build):
    """Return a builder of torchvision that ignores ``pretrained``."""
    return lambda pretrained=None, **kwargs: build(**kwargs)


@contextmanager
def _forgotten(names: tuple[str, ...]) -> Iterator[None]:
    """Remove top-level modules of these names and their submodules from ``sys.modules``, before and after."""

    def forget() -> dict[str, types.ModuleType]:
        matching = [name for name in sys.modules if name.partition('.')[0] in names]
        return {name: sys.modules.pop(name) for name in matching}

    before = forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(before)


def _import_torchvision() -> types.ModuleType:
    """Import torchvision even if its compiled operators do not fit this torch: the models call none of them."""
    try:
        return importlib.import_module('torchvision')
    except RuntimeError:
        for operator in ('nms', 'qnms'):
            signature = '(Tensor boxes, Tensor scores, float threshold) -> Tensor'
            torch.library.define(f'torchvision::{operator}', signature)
        return importlib.import_module('torchvision')
