"""Deformable DETR's head: decoder layers with predictors of their own."""
from collections.abc import Callable

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .detr_head import DETRHead


@MODELS.register_module()
class DeformableDETRHead(DETRHead):
    """A classifier and a box branch for each decoder layer, ``cls_branches`` and ``reg_branches`` (Deformable DETR).

    Args:
        share_pred_layer (bool): All layers have the same two; each still has its name for them, as in mmdet.
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(self, *args, share_pred_layer: bool = False, **kwargs) -> None:
        self.share_pred_layer = share_pred_layer
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        self.cls_branches = self._for_each_layer(lambda: nn.Linear(self.embed_dims, self.cls_out_channels))
        self.reg_branches = self._for_each_layer(self._reg_branch)

    def _for_each_layer(self, build: Callable[[], nn.Module]) -> ModuleList:
        if self.share_pred_layer:
            return ModuleList([build()] * self.num_pred_layer)
        return ModuleList([build() for _ in range(self.num_pred_layer)])

    def _reg_branch(self) -> nn.Sequential:
        hidden = [(nn.Linear(self.embed_dims, self.embed_dims), nn.ReLU()) for _ in range(self.num_reg_fcs)]
        return nn.Sequential(*sum(hidden, ()), nn.Linear(self.embed_dims, 4))

    def init_weights(self) -> None:
        """As :class:`DETRHead`; every box starts at what its layer starts from, but smaller in the first."""
        super().init_weights()
        for branch in self.reg_branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)
        nn.init.constant_(self.reg_branches[0][-1].bias[2:], -2.)

    @property
    def classifiers(self) -> ModuleList:
        """ModuleList: The classifier of each decoder layer."""
        return self.cls_branches

    @property
    def box_branches(self) -> ModuleList:
        """ModuleList: The box branch of each decoder layer."""
        return self.reg_branches

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Logits of all layers, or of the last L: (L, B, Q, C) -> (L, B, Q, K or K + 1)."""
        return self._by_layer(self.cls_branches, hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Changes of boxes before the sigmoid, of all layers or of the last L: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self._by_layer(self.reg_branches, hidden_states)

    @staticmethod
    def _by_layer(branches: ModuleList, hidden_states: Tensor) -> Tensor:
        return torch.stack([branch(states) for branch, states in zip(branches[-len(hidden_states):], hidden_states)])
