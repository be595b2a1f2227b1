"""Anchor DETR: DETR whose queries are anchor points, each tried with several patterns."""

import torch
from mmdet.models.layers.transformer import MLP, coordinate_to_encoding
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..layers import FeatureLevels
from ..queries import DenoisingQueries
from .dab_detr import DABDETR


@MODELS.register_module()
class AnchorDETR(DABDETR):
    """Anchor DETR (arXiv 2109.07107), with :class:`DETRHead` and a sigmoid loss.

    DAB-DETR's anchors shrink to points (x, y) in [0, 1]; boxes are predicted from them. Attention to the image is
    decoupled into rows and columns, and one perceptron, ``adapt_pos1d``, embeds a coordinate along either. It requires
    ``positional_encoding.num_feats`` to be C, so that y and x have C numbers each, and one feature map.

    Args:
        num_queries (int): Number of anchor points.
        num_patterns (int): Number of patterns; each is tried at each point.
        **kwargs: As :class:`DABDETR`.

    Raises:
        InputError: There is more than one feature map, or ``num_feats`` is not C.
    """

    default_types = dict(encoder='mmdet_setdet.AnchorEncoder', decoder='mmdet_setdet.AnchorDecoder')

    def _init_layers(self) -> None:
        num_feats = self.positional_encoding['num_feats']
        super()._init_layers()
        if self.num_feature_levels > 1 or num_feats != self.embed_dims:
            raise InputError(
                f'model.num_feature_levels={self.num_feature_levels} and model.positional_encoding.num_feats='
                f'{num_feats}: AnchorDETR needs 1 and {self.embed_dims}, the size of its queries'
            )

    def _init_queries(self) -> None:
        super()._init_queries()
        self.query_embedding = nn.Embedding(self.num_queries, 2)
        self.adapt_pos1d = MLP(self.embed_dims, self.embed_dims, self.embed_dims, 2)
        self.adapt_pos2d = MLP(self.embed_dims, self.embed_dims, self.embed_dims, 2)

    def init_weights(self) -> None:
        """Initialise as DETR; points are spread over the image, and boxes start small."""
        super().init_weights()
        nn.init.uniform_(self.query_embedding.weight)
        sides = self.bbox_head.fc_reg.bias[2:]
        nn.init.constant_(sides, -2.0)

    def tokenize(self, feats: tuple[Tensor], levels: FeatureLevels) -> tuple[dict, dict]:
        """Flatten feature maps to tokens, whose positions are those of their row and of their column, (B, S, 2C)."""
        encoder_inputs, decoder_inputs = super().tokenize(feats, levels)
        pos = encoder_inputs['feat_pos'].unflatten(1, levels.shapes[0])
        y, x = pos.chunk(2, -1)
        # The first row and column are the only ones that are in every image.
        rows = self.adapt_pos1d(y[:, :, :1])
        columns = self.adapt_pos1d(x[:, :1])
        both = torch.broadcast_tensors(rows, columns)
        pos = torch.cat(both, -1).flatten(1, 2)
        return dict(encoder_inputs, feat_pos=pos), dict(decoder_inputs, memory_pos=pos)

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Make queries of noised gts: the noised centre is the anchor point, which has no place for a size."""
        return dict(query=noised.content, anchors=noised.anchors[..., :2].sigmoid())

    def forward_decoder(
        self,
        query: Tensor,
        anchors: Tensor,
        self_attn_mask: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
        memory_pos: Tensor,
        levels: FeatureLevels,
    ) -> dict[str, Tensor]:
        """Decode Q queries: ``hidden_states`` (L, B, Q, C), and as ``references`` the points, (1, B, Q, 2)."""
        encoding = coordinate_to_encoding(anchors, self.embed_dims // 2)
        axes = coordinate_to_encoding(anchors, self.embed_dims).unflatten(-1, (2, -1))
        hidden_states = self.decoder(
            query,
            query_pos=self.adapt_pos2d(encoding),
            axis_pos=self.adapt_pos1d(axes).flatten(-2),
            memory=memory,
            memory_pos=memory_pos,
            self_attn_mask=self_attn_mask,
            memory_mask=memory_mask,
            levels=levels,
        )
        return dict(hidden_states=hidden_states, references=anchors[None])
