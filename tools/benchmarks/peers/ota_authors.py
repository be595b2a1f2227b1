"""OTA's assignment as its authors wrote it: a plain checkout (:mod:`.checkouts`), run unchanged.

Their detector is written on cvpods, which today's torch does not build. The assignment needs only a few functions of
cvpods; they are supplied here, most of them by mmdet.
"""

import importlib.util
import types
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch import Tensor

from ..ota_scenes import Scene
from .checkouts import OTA_FILE, find_checkout


class CenteredBoxes:
    """Boxes (x1, y1, x2, y2) with the interface that their code expects."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def get_centers(self) -> Tensor:
        """Return the centres, (G, 2)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2


class ImageTargets:
    """The ground truths of one image with the interface that their code expects.

    Args:
        bboxes (Tensor): Boxes (x1, y1, x2, y2) in pixels, (G, 4).
        labels (Tensor): Classes, (G, ).
    """

    def __init__(self, bboxes: Tensor, labels: Tensor) -> None:
        self.gt_boxes = CenteredBoxes(bboxes)
        self.gt_classes = labels

    def __len__(self) -> int:
        return len(self.gt_classes)


class AuthorsOTA:
    """What OTA's authors compute between a head and its losses, with their settings.

    Args:
        num_classes (int): Classes of the head.
        strides (tuple): Strides of its levels.

    Attributes:
        problems (list[tuple]): Supply, demand, costs and transport plan of every image so far.
    """

    def __init__(self, num_classes: int, strides: tuple[int, ...]) -> None:
        self.module = _import(find_checkout('ota') / OTA_FILE)
        self.num_classes = num_classes
        self.problems = []
        self._solver = self.module.SinkhornDistance(eps=0.1, max_iter=50)
        # What their method reads of `self`.
        self._detector = types.SimpleNamespace(
            num_classes=num_classes,
            fpn_strides=strides,
            sinkhorn=self._solve_and_record,
            reg_weight=1.5,
            top_candidates=20,
            focal_loss_alpha=0.25,
            focal_loss_gamma=2.0,
            shift2box_transform=types.SimpleNamespace(get_deltas=_side_distances),
        )

    def solve(self, supply: Tensor, demand: Tensor, costs: Tensor) -> Tensor:
        """Return the transport plan of one problem."""
        return self._solver(supply, demand, costs)[1]

    def _solve_and_record(self, supply: Tensor, demand: Tensor, costs: Tensor) -> tuple:
        result = self._solver(supply, demand, costs)
        self.problems.append((supply, demand, costs, result[1]))
        return result

    def targets(
        self,
        points: list[Tensor],
        gts: list[ImageTargets],
        logits: list[Tensor],
        distances: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the targets of all predictions: classes, distances to the four sides, and IoU.

        Args:
            points (list[Tensor]): Centres of the predictions per level, (N_level, 2).
            gts (list[ImageTargets]): Ground truths per image.
            logits (list[Tensor]): Class scores per level, (B, K, H, W).
            distances (list[Tensor]): Predicted left, top, right and bottom in pixels per level, (B, 4, H, W).

        Returns:
            tuple[Tensor, Tensor, Tensor]: (B * N, ), (B * N, 4) and (B * N, 1).
        """
        ious = [
            level[:, :1] for level in distances
        ]  # their method expects an argument that it does not read
        all_points = [points] * len(gts)
        return self.module.FCOS.get_ground_truth(
            self._detector, all_points, gts, logits, distances, ious
        )

    def targets_of_scene(self, scene: Scene, images: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return :meth:`targets` for some images of a scene."""
        part = replace(scene, logits=scene.logits[images], distances=scene.distances[images])
        level_sizes = [height * width for height, width in scene.sizes]
        points = list(scene.priors[:, :2].split(level_sizes))
        chosen = [scene.objects[image] for image in images]
        gts = [ImageTargets(instances.bboxes, instances.labels) for instances in chosen]
        return self.targets(points, gts, part.by_level(part.logits), part.by_level(part.distances))


def _side_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Return the distances of points to the left, top, right and bottom of boxes."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def _focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    return py_sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction='none')


def _as_rows(level: Tensor, channels: int) -> Tensor:
    """Reorder a map (B, C, H, W) as (B, H * W, C)."""
    return level.flatten(2).transpose(1, 2).reshape(len(level), -1, channels)


def _import(path: Path) -> types.ModuleType:
    """Import the authors' file with stand-ins for the modules of cvpods that it imports."""
    contents = {
        'cvpods.layers': dict(ShapeSpec=None, batched_nms=None, cat=torch.cat),
        'cvpods.modeling.box_regression': dict(Shift2BoxTransform=None),
        'cvpods.modeling.losses': dict(iou_loss=None, sigmoid_focal_loss_jit=_focal_loss),
        'cvpods.modeling.meta_arch.retinanet': dict(permute_to_N_HWA_K=_as_rows),
        'cvpods.modeling.postprocessing': dict(detector_postprocess=None),
        'cvpods.structures': dict(Boxes=None, ImageList=None, Instances=None),
        'cvpods.utils': dict(log_first_n=None),
    }
    parents = ('cvpods', 'cvpods.modeling', 'cvpods.modeling.meta_arch')
    modules = {name: types.ModuleType(name) for name in (*parents, *contents)}
    for name, attributes in contents.items():
        vars(modules[name]).update(attributes)
    spec = importlib.util.spec_from_file_location('authors_ota_fcos', path)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict('sys.modules', modules):
        spec.loader.exec_module(module)
    return module
