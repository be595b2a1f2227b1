"""DAB-DETR's and DN-DETR's head: boxes as changes of anchors."""

from collections.abc import Iterable
from itertools import repeat

from mmdet.models.layers.transformer import MLP
from torch import Tensor, nn

from ...registry import MODELS
from .detr_head import DETRHead

FOCAL_LOSS = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)


@MODELS.register_module(name=['DABDETRHead', 'DNDETRHead'])
class DABDETRHead(DETRHead):
    """Classes by sigmoid, boxes as a change of the box that each decoder layer starts from (DAB-DETR, section 4.4).

    Args:
        loss_cls (dict): Focal loss by default.
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(self, *args, loss_cls: dict = FOCAL_LOSS, **kwargs) -> None:
        super().__init__(*args, loss_cls=loss_cls, **kwargs)

    def _init_layers(self) -> None:
        self.fc_cls = nn.Linear(self.embed_dims, self.cls_out_channels)
        self.fc_reg = MLP(self.embed_dims, self.embed_dims, 4, self.num_reg_fcs + 1)

    def init_weights(self) -> None:
        """Initialise as :class:`DETRHead`; every box starts at its anchor."""
        super().init_weights()
        nn.init.zeros_(self.fc_reg.layers[-1].weight)
        nn.init.zeros_(self.fc_reg.layers[-1].bias)

    @property
    def box_branches(self) -> Iterable[nn.Module]:
        """Iterable[nn.Module]: The box branch of each decoder layer, from the first on."""
        return repeat(self.fc_reg)

    def regress(self, hidden_states: Tensor) -> Tensor:
        """Predict changes of boxes before the sigmoid: (L, B, Q, C) -> (L, B, Q, 4)."""
        return self.fc_reg(hidden_states)
