"""DAB-DETR's and DN-DETR's head: boxes as changes of anchors."""
from collections.abc import Iterable
from itertools import repeat

import torch
from mmdet.models.layers.transformer import MLP
from mmengine.model import ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from .detr_head import DETRHead

FOCAL_LOSS = dict(type='FocalLoss', use_sigmoid=True, gamma=2., alpha=0.25, loss_weight=1.)


@MODELS.register_module()
class DNDETRHead(DETRHead):
    """Classes by sigmoid, boxes as a change of the box that each decoder layer starts from.

    Args:
        loss_cls (dict): Focal loss by default.
        share_pred_layer (bool): One classifier and one box branch serve all decoder layers, ``fc_cls`` and ``fc_reg``.
            False: each layer has its own, ``cls_branches`` and ``reg_branches``, as in Deformable DETR.
        num_pred_layer (int): Number of decoder layers, if they do not share. The detector sets it.
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(self,
                 *args,
                 loss_cls: dict = FOCAL_LOSS,
                 share_pred_layer: bool = True,
                 num_pred_layer: int = 6,
                 **kwargs) -> None:
        self.share_pred_layer = share_pred_layer
        self.num_pred_layer = num_pred_layer
        super().__init__(*args, loss_cls=loss_cls, **kwargs)

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
        """As :class:`DETRHead`, and every box starts at its anchor.

        With branches for each layer, the first starts with smaller boxes, as Deformable DETR's does.
        """
        super().init_weights()
        box_layers = [self.fc_reg.layers[-1]] if self.share_pred_layer else [branch[-1] for branch in self.reg_branches]
        for layer in box_layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if not self.share_pred_layer:
            nn.init.constant_(box_layers[0].bias[2:], -2.)

    @property
    def classifiers(self) -> list[nn.Linear]:
        """list[nn.Linear]: The classifier of all decoder layers, or one for each."""
        return [self.fc_cls] if self.share_pred_layer else list(self.cls_branches)

    @property
    def box_branches(self) -> Iterable[nn.Module]:
        """Iterable[nn.Module]: The box branch of each decoder layer, from the first on."""
        return repeat(self.fc_reg) if self.share_pred_layer else self.reg_branches

    def classify(self, hidden_states: Tensor) -> Tensor:
        """Logits of all layers, or of the last L: (L, B, Q, C) -> (L, B, Q, K)."""
        return self.fc_cls(hidden_states) if self.share_pred_layer else self._each(self.cls_branches, hidden_states)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Changes of boxes before the sigmoid, of all layers or of the last L: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self.fc_reg(hidden_states) if self.share_pred_layer else self._each(self.reg_branches, hidden_states)

    @staticmethod
    def _each(branches: ModuleList, hidden_states: Tensor) -> Tensor:
        return torch.stack([branch(states) for branch, states in zip(branches[-len(hidden_states):], hidden_states)])
