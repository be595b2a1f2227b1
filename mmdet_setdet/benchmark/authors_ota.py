"""The assignment of OTA's authors as a peer: a plain checkout under ``$SETDET_REF``, run unchanged.

Their detector is written on cvpods, which today's torch does not build. Its assignment needs few functions of that:
they are supplied here, most of them by mmdet.
"""
import importlib.util
import os
import types
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch import Tensor

from .ota_scenes import Scene

FOLDER = 'Megvii-BaseDetection+OTA'
FILE = 'playground/detection/coco/ota.res50.fpn.coco.800size.1x/fcos.py'


class Boxes:
    """Boxes (x1, y1, x2, y2) as their code takes them."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def get_centers(self) -> Tensor:
        """Centres, (G, 2)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2


class Objects:
    """The objects of an image as their code takes them.

    Args:
        bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels, (G, 4).
        labels (Tensor): Classes, (G, ).
    """

    def __init__(self, bboxes: Tensor, labels: Tensor) -> None:
        self.gt_boxes, self.gt_classes = Boxes(bboxes), labels

    def __len__(self) -> int:
        return len(self.gt_classes)


class AuthorsOTA:
    """What OTA's authors compute between a head and its losses, at their settings.

    Args:
        num_classes (int): Classes of the head.
        strides (tuple): Strides of its levels.

    Attributes:
        num_classes (int): As given.
        problems (list[tuple]): Supply, demand, costs and plan of every image so far.
    """

    def __init__(self, num_classes: int, strides: tuple[int, ...]) -> None:
        self.module = _load(checkout())
        self.num_classes, self.problems = num_classes, []
        solver = self.module.SinkhornDistance(eps=0.1, max_iter=50)

        def sinkhorn(supply: Tensor, demand: Tensor, costs: Tensor):
            result = solver(supply, demand, costs)
            self.problems.append((supply, demand, costs, result[1]))
            return result

        self.solve = lambda supply, demand, costs: solver(supply, demand, costs)[1]
        self._detector = types.SimpleNamespace(
            num_classes=num_classes, fpn_strides=strides, sinkhorn=sinkhorn, reg_weight=1.5, top_candidates=20,
            focal_loss_alpha=0.25, focal_loss_gamma=2.0,
            shift2box_transform=types.SimpleNamespace(get_deltas=_deltas))

    def targets(self, points: list[Tensor], objects: list[Objects], logits: list[Tensor],
                distances: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Classes (B * N, ), distances to the four sides (B * N, 4) and IoU (B * N, 1) of all predictions.

        Args:
            points (list[Tensor]): Their centres by level, (N_level, 2).
            objects (list[Objects]): Those of each image.
            logits (list[Tensor]): By level, (B, K, H, W).
            distances (list[Tensor]): Predicted left, top, right and bottom in pixels by level, (B, 4, H, W).
        """
        ious = [level[:, :1] for level in distances]  # taken, not read
        return self.module.FCOS.get_ground_truth(
            self._detector, [points] * len(objects), objects, logits, distances, ious)


    def targets_of_scene(self, scene: Scene, images: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """The same for some images of a scene."""
        part = replace(scene, logits=scene.logits[images], distances=scene.distances[images])
        return self.targets(
            list(scene.priors[:, :2].split([height * width for height, width in scene.sizes])),
            [Objects(scene.objects[image].bboxes, scene.objects[image].labels) for image in images],
            part.by_level(part.logits), part.by_level(part.distances))


def checkout() -> Path | None:
    """Where the authors' file lies, or None."""
    path = Path(os.environ.get('SETDET_REF', ''), FOLDER, FILE)
    return path if 'SETDET_REF' in os.environ and path.exists() else None


def _deltas(points: Tensor, boxes: Tensor) -> Tensor:
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def _focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    return py_sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction='none')


def _flattened(level: Tensor, channels: int) -> Tensor:
    return level.flatten(2).transpose(1, 2).reshape(len(level), -1, channels)


def _load(path: Path) -> types.ModuleType:
    """Imports the authors' file beside stand-ins for the modules of cvpods that it names."""
    names = {
        'cvpods.layers': dict(ShapeSpec=None, batched_nms=None, cat=torch.cat),
        'cvpods.modeling.box_regression': dict(Shift2BoxTransform=None),
        'cvpods.modeling.losses': dict(iou_loss=None, sigmoid_focal_loss_jit=_focal_loss),
        'cvpods.modeling.meta_arch.retinanet': dict(permute_to_N_HWA_K=_flattened),
        'cvpods.modeling.postprocessing': dict(detector_postprocess=None),
        'cvpods.structures': dict(Boxes=None, ImageList=None, Instances=None),
        'cvpods.utils': dict(log_first_n=None),
    }
    modules = {}
    for name, contents in names.items():
        parts = name.split('.')
        for parent in ('.'.join(parts[:i]) for i in range(1, len(parts))):
            modules.setdefault(parent, types.ModuleType(parent))
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(contents)
    spec = importlib.util.spec_from_file_location('authors_ota_fcos', path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict('sys.modules', modules):
        spec.loader.exec_module(module)
    return module
