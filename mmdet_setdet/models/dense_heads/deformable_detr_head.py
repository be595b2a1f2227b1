"""Deformable DETR's head: decoder layers with predictors of their own."""

from collections.abc import Callable

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .detr_head import DETRHead


@MODELS.register_module(name=['DeformableDETRHead', 'DINOHead'])
class DeformableDETRHead(DETRHead):
    """A classifier and a box branch per decoder layer, ``cls_branches`` and ``reg_branches`` (Deformable DETR).

    Args:
        share_pred_layer (bool): Share one pair of predictors; it is still registered once per layer, as in mmdet.
        as_two_stage (bool): Whether there is one more pair, the last, for proposals of the encoder.
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(
        self, *args, share_pred_layer: bool = False, as_two_stage: bool = False, **kwargs
    ) -> None:
        self.share_pred_layer = share_pred_layer
        self.as_two_stage = as_two_stage
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        self.cls_branches = self._branches(
            lambda: nn.Linear(self.embed_dims, self.cls_out_channels)
        )
        self.reg_branches = self._branches(self._reg_branch)

    def _branches(self, build: Callable[[], nn.Module]) -> ModuleList:
        """One branch per decoder layer and for proposals, or the same one for all."""
        count = self.num_pred_layer + self.as_two_stage
        if self.share_pred_layer:
            return ModuleList([build()] * count)
        return ModuleList([build() for _ in range(count)])

    def _reg_branch(self) -> nn.Sequential:
        layers = []
        for _ in range(self.num_reg_fcs):
            layers += [nn.Linear(self.embed_dims, self.embed_dims), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(self.embed_dims, 4))

    def init_weights(self) -> None:
        """Initialise as :class:`DETRHead`; boxes start at what their layer starts from.

        In one stage they are smaller in the first layer, which starts from points.
        """
        super().init_weights()
        for branch in self.reg_branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)
        if not self.as_two_stage:
            first_sides = self.reg_branches[0][-1].bias[2:]
            nn.init.constant_(first_sides, -2.0)

    @property
    def classifiers(self) -> ModuleList:
        """ModuleList: The classifier of each decoder layer, and that of proposals."""
        return self.cls_branches

    @property
    def box_branches(self) -> ModuleList:
        """ModuleList: The box branch of each decoder layer."""
        return self.reg_branches[: self.num_pred_layer]

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Predict logits in all layers, or in the last L: (L, B, Q, C) -> (L, B, Q, K or K + 1)."""
        return self._per_layer(self.cls_branches[: self.num_pred_layer], hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Predict changes of boxes before the sigmoid in all layers, or in the last L: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self._per_layer(self.box_branches, hidden_states)

    def classify_proposals(self, tokens: Tensor) -> Tensor:
        """Predict logits of tokens of the encoder, (B, N, C) -> (B, N, K)."""
        return self.cls_branches[-1](tokens)

    def regress_proposals(self, tokens: Tensor) -> Tensor:
        """Predict changes of the boxes around tokens' cells before the sigmoid: (B, N, C) -> (B, N, 4)."""
        return self.reg_branches[-1](tokens)

    @staticmethod
    def _per_layer(branches: ModuleList, hidden_states: Tensor) -> Tensor:
        branches = branches[-len(hidden_states) :]
        outputs = [branch(states) for branch, states in zip(branches, hidden_states)]
        return torch.stack(outputs)
