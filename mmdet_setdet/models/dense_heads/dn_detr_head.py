"""DAB-DETR's and DN-DETR's head: boxes as changes of anchors."""

from mmdet.models.layers.transformer import MLP
from mmengine.model import bias_init_with_prob
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
        **kwargs: As :class:`DETRHead`.
    """

    def __init__(self,
                 *args,
                 loss_cls: dict = FOCAL_LOSS,
                 eps: float = 1e-3,
                 **kwargs) -> None:
        super().__init__(*args, loss_cls=loss_cls, **kwargs)
        self.eps = eps

    def _init_layers(self) -> None:
        self.fc_cls = nn.Linear(self.embed_dims, self.cls_out_channels)
        self.fc_reg = MLP(self.embed_dims, self.embed_dims, 4, self.num_reg_fcs + 1)

    def init_weights(self) -> None:
        """Every class starts at probability 0.01, and every box at its anchor."""
        super().init_weights()
        if self.loss_cls.use_sigmoid:
            nn.init.constant_(self.fc_cls.bias, bias_init_with_prob(0.01))
        nn.init.zeros_(self.fc_reg.layers[-1].weight)
        nn.init.zeros_(self.fc_reg.layers[-1].bias)

    def forward(self, hidden_states: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts from the states (L, B, Q, C) and starting boxes (L, B, Q, 4) of all layers.

        Returns:
            tuple[Tensor, Tensor]: Logits (L, B, Q, K) and boxes (cx, cy, w, h) in [0, 1], (L, B, Q, 4).
        """
        boxes = self.fc_reg(hidden_states) + inverse_sigmoid(references, self.eps)
        return self.fc_cls(hidden_states), boxes.sigmoid()
