"""DAB-DETR's and DN-DETR's head: boxes as changes of anchors."""
from collections.abc import Iterable
from itertools import repeat

import torch
from mmdet.models.layers.transformer import MLP
from mmengine.model import ModuleList, bias_init_with_prob
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import inverse_sigmoid
from .detr_head import DETRHead

FOCAL_LOSS = dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.)


@MODELS.register_module()
class DNDETRHead(DETRHead):
    """Classes by sigmoid, boxes as a change of the box that each decoder layer starts from.

    Args:
        loss_cls (dict): Focal loss by default.
        eps (float): Boxes are kept this far from 0 and 1 before the inverse sigmoid (1e-3 in the authors' code and in
            mmdet's head).
        share_pred_layer (bool): One classifier and one box branch serve all decoder layers, ``fc_cls`` and ``fc_reg``.
            False: each layer has its own, ``cls_branches`` and ``reg_branches``, as in Deformable DETR.
        num_pred_layer (int): Number of decoder layers, if they do not share. The detector sets it.
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(self,
                 *args,
                 loss_cls: dict = FOCAL_LOSS,
                 eps: float = 1e-3,
                 share_pred_layer: bool = True,
                 num_pred_layer: int = 6,
                 **kwargs) -> None:
        self.share_pred_layer = share_pred_layer
        self.num_pred_layer = num_pred_layer
        super().__init__(*args, loss_cls=loss_cls, **kwargs)
        self.eps = eps

    def _init_layers(self) -> None:
        if self.share_pred_layer:
            self.fc_cls = nn.Linear(self.embed_dims, self.cls_out_channels)
            self.fc_reg = MLP(self.embed_dims, self.embed_dims, 4, self.num_reg_fcs + 1)
        else:
            layers = range(self.num_pred_layer)
            self.cls_branches = ModuleList([nn.Linear(self.embed_dims, self.cls_out_channels) for _ in layers])
            self.reg_branches = ModuleList([self._reg_branch() for _ in layers])

    def _reg_branch(self) -> nn.Sequential:
        hidden = [(nn.Linear(self.embed_dims, self.embed_dims), nn.ReLU()) for _ in range(self.num_reg_fcs)]
        return nn.Sequential(*sum(hidden, ()), nn.Linear(self.embed_dims, 4))

    def init_weights(self) -> None:
        """Every class starts at probability 0.01, and every box at its anchor.

        With branches for each layer, the first starts with smaller boxes, as Deformable DETR's does.
        """
        super().init_weights()
        classifiers = [self.fc_cls] if self.share_pred_layer else self.cls_branches
        box_layers = [self.fc_reg.layers[-1]] if self.share_pred_layer else [branch[-1] for branch in self.reg_branches]
        if self.loss_cls.use_sigmoid:
            for classifier in classifiers:
                nn.init.constant_(classifier.bias, bias_init_with_prob(0.01))
        for layer in box_layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if not self.share_pred_layer:
            nn.init.constant_(box_layers[0].bias[2:], -2.)

    @property
    def box_branches(self) -> Iterable[nn.Module]:
        """Iterable[nn.Module]: The box branch of each decoder layer, from the first on."""
        return repeat(self.fc_reg) if self.share_pred_layer else self.reg_branches

    def forward(self, hidden_states: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts from the states (L, B, Q, C) and starting boxes (L, B, Q, 4) of all layers, or of the last L.

        Returns:
            tuple[Tensor, Tensor]: Logits (L, B, Q, K) and boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        """
        if self.share_pred_layer:
            logits, changes = self.fc_cls(hidden_states), self.fc_reg(hidden_states)
        else:
            logits, changes = (
                torch.stack([branch(states) for branch, states in zip(branches[-len(hidden_states):], hidden_states)])
                for branches in (self.cls_branches, self.reg_branches))
        return logits, (changes + inverse_sigmoid(references, self.eps)).sigmoid()
