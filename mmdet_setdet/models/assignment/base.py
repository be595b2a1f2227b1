"""The interface of assigners that match all decoder layers and images of a step at once."""

from abc import abstractmethod

from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ..ground_truths import GroundTruths
from .costs import pairwise_costs
from .matches import Matches
from .non_finite_costs import NonFiniteCosts


class BatchAssigner(BaseAssigner):
    """Match the predictions of a DETR's decoder with ground truths by their costs.

    Subclasses implement :meth:`match`. What a subclass does not support it refuses.

    Args:
        match_costs (dict | list[dict]): mmdet's match costs, e.g. ``dict(type='FocalLossCost', weight=2.)``. An
            assigner that needs none may leave it out.

    Raises:
        AssertionError: The list is empty. (The error of mmdet's assigner.)
    """

    def __init__(self, match_costs: dict | list[dict] | None = None) -> None:
        if isinstance(match_costs, dict):
            match_costs = [match_costs]
        assert match_costs is None or len(match_costs), (
            f'{type(self).__name__}: match_costs must not be empty'
        )
        self.match_costs = [TASK_UTILS.build(cost) for cost in match_costs or []]
        self.non_finite_costs = NonFiniteCosts()

    @abstractmethod
    def match(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Matches:
        """Match the predictions of all L layers and B images.

        Args:
            logits (Tensor): Class scores before softmax or sigmoid, (L, B, Q, K).
            boxes (Tensor): Boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
            gts (GroundTruths): The ground truths, padded to G per image.

        Returns:
            Matches: Pairs of predictions and ground truths.

        Raises:
            FloatingPointError: No cost of an image with ground truths is finite.
        """

    def costs(self, logits: Tensor, boxes: Tensor, gts: GroundTruths) -> Tensor:
        """Return the costs (L, B, Q, G) of the arguments of :meth:`match`, see :func:`pairwise_costs`."""
        return pairwise_costs(self.match_costs, logits, boxes, gts)

    def assign(
        self, pred_instances: InstanceData, gt_instances: InstanceData, *args, **kwargs
    ) -> AssignResult:
        """Refuse mmdet's interface for a single image.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"{type(self).__name__} matches whole batches only, and mmdet's heads call assign for each image; "
            "there use type='mmdet_setdet.HungarianAssigner'"
        )


def require_at_least_one(assigner: BaseAssigner, **options: int | None) -> None:
    """Check options that count something.

    Args:
        assigner (BaseAssigner): Whose options these are.
        **options (int, optional): Values by name; None is an option that is not set.

    Raises:
        InputError: A value is below 1.
    """
    for name, value in options.items():
        if value is not None and value < 1:
            raise InputError(f'{type(assigner).__name__}: {name}={value} must be 1 or more')
