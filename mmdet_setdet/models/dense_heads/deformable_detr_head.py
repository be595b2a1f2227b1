"""Deformable DETR's head: decoder layers with predictors of their own."""

from collections.abc import Callable

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from .detr_head import DETRHead


@MODELS.register_module()
class DeformableDETRHead(DETRHead):
    """A classifier and a box branch per decoder layer, ``cls_branches`` and ``reg_branches`` (Deformable DETR).

    Args:
        share_pred_layer (bool): Share one pair of predictors; it is still registered once per layer, as in mmdet.
        as_two_stage (bool): False; True, predictors for proposals of the encoder, is not supported.
        **kwargs: As :class:`DETRHead`.

    Raises:
        InputError: ``as_two_stage`` is True.
    """

    def __init__(
        self, *args, share_pred_layer: bool = False, as_two_stage: bool = False, **kwargs
    ) -> None:
        if as_two_stage:
            raise InputError(
                'bbox_head.as_two_stage=True is not supported by mmdet_setdet.DeformableDETRHead'
            )
        self.share_pred_layer = share_pred_layer
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        self.cls_branches = self._branches(
            lambda: nn.Linear(self.embed_dims, self.cls_out_channels)
        )
        self.reg_branches = self._branches(self._reg_branch)

    def _branches(self, build: Callable[[], nn.Module]) -> ModuleList:
        """One branch per decoder layer, or the same one for all."""
        if self.share_pred_layer:
            return ModuleList([build()] * self.num_pred_layer)
        return ModuleList([build() for _ in range(self.num_pred_layer)])

    def _reg_branch(self) -> nn.Sequential:
        layers = []
        for _ in range(self.num_reg_fcs):
            layers += [nn.Linear(self.embed_dims, self.embed_dims), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.embed_dims, 4))

    def init_weights(self) -> None:
        """Initialise as :class:`DETRHead`; boxes start at what their layer starts from, smaller in the first layer."""
        super().init_weights()
        for branch in self.reg_branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)
        first_sides = self.reg_branches[0][-1].bias[2:]
        nn.init.constant_(first_sides, -2.0)

    @property
    def classifiers(self) -> ModuleList:
        """ModuleList: The classifier of each decoder layer."""
        return self.cls_branches

    @property
    def box_branches(self) -> ModuleList:
        """ModuleList: The box branch of each decoder layer."""
        return self.reg_branches

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Predict logits in all layers, or in the last L: (L, B, Q, C) -> (L, B, Q, K or K + 1)."""
        return self._per_layer(self.cls_branches, hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Predict changes of boxes before the sigmoid in all layers, or in the last L: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self._per_layer(self.reg_branches, hidden_states)

    @staticmethod
    def _per_layer(branches: ModuleList, hidden_states: Tensor) -> Tensor:
        branches = branches[-len(hidden_states) :]
        outputs = [branch(states) for branch, states in zip(branches, hidden_states)]
        return torch.stack(outputs)
