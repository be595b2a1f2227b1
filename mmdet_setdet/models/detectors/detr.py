"""DETR: the flow from image to loss or result, in mmdet's frame."""

import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.layers import SinePositionalEncoding
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn

from ...registry import MODELS
from ..denoising import BoxPosition, Denoising, DenoisingQueries
from ..ground_truths import GroundTruths
from ..layers import FeatureLevels


@MODELS.register_module()
class DETR(DetectionTransformer):
    """DETR (arXiv 2005.12872): an image becomes tokens, learnt queries look at them, a head reads the queries.

    .. code:: text

        images -> backbone, neck -> tokens, positions -> encoder -> memory -.
                                                                            v
                                              queries ------------------> decoder -> head -> losses | results

    ``encoder``, ``decoder`` and ``positional_encoding`` are configured as mmdet's DETR, and the parameters have
    mmdet's names, so its checkpoints load as they are.

    Args:
        denoising (dict, optional): Arguments of :class:`Denoising` other than ``num_classes`` and ``embed_dims``: in
            training, noised ground truths are decoded beside the learnt queries (DN-DETR). None: no denoising.
        num_feature_levels (int): Feature maps to use, the last of those that the neck gives. More than one are told
            apart by ``level_embed``, and want an encoder and a decoder for several levels.
        **kwargs: As mmdet's ``DetectionTransformer``. ``encoder`` and ``decoder`` may name another ``type``.
    """
    default_types = dict(encoder='mmdet_setdet.DETREncoder', decoder='mmdet_setdet.DETRDecoder')

    def __init__(self,
                 *args,
                 decoder: ConfigType,
                 bbox_head: ConfigType,
                 denoising: OptConfigType = None,
                 num_feature_levels: int = 1,
                 **kwargs) -> None:
        self.denoising = denoising
        self.num_feature_levels = num_feature_levels
        bbox_head = dict(bbox_head, num_pred_layer=decoder['num_layers'])
        super().__init__(*args, decoder=decoder, bbox_head=bbox_head, **kwargs)

    def _init_layers(self) -> None:
        self.positional_encoding = SinePositionalEncoding(**self.positional_encoding)
        for part, default_type in self.default_types.items():
            setattr(self, part, MODELS.build({'type': default_type, **getattr(self, part)}))
        self.embed_dims = self.encoder.embed_dims
        if self.num_feature_levels > 1:
            self.level_embed = nn.Parameter(torch.randn(self.num_feature_levels, self.embed_dims))
        if self.denoising is not None:
            self.denoising = Denoising(self.bbox_head.num_classes, self.embed_dims, **self.denoising)
            self._init_noised_queries()
        self._init_queries()

    def _init_queries(self) -> None:
        self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)

    def _init_noised_queries(self) -> None:
        # DETR's queries are learnt positions without meaning, so it is learnt as well where a box lies among them.
        self.box_pos_head = BoxPosition(self.embed_dims)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch of images (B, 3, H, W) and their data samples."""
        gts = GroundTruths.from_samples(batch_data_samples)
        states = self.forward_transformer(self.extract_feat(batch_inputs), batch_data_samples, gts)
        return self.bbox_head.loss(**states, gts=gts)

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Data samples with ``pred_instances``: ``bboxes`` in pixels, ``scores`` and ``labels``."""
        states = self.forward_transformer(self.extract_feat(batch_inputs), batch_data_samples)
        results = self.bbox_head.predict(batch_data_samples, rescale, **states)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def forward_transformer(self,
                            img_feats: tuple[Tensor],
                            batch_data_samples: OptSampleList = None,
                            gts: GroundTruths | None = None) -> dict[str, Tensor]:
        """Tokens -> memory -> decoded queries.

        Args:
            img_feats (tuple[Tensor]): Feature maps, each (B, C, h, w); the last ``num_feature_levels`` are used.
            batch_data_samples (list[DetDataSample], optional): They tell what is padding; without them nothing is.
            gts (GroundTruths, optional): The objects, in training.

        Returns:
            dict: What the head takes.
        """
        encoder_inputs, memory_inputs = self.pre_transformer(img_feats, batch_data_samples)
        memory = self.forward_encoder(**encoder_inputs)
        queries = self.pre_decoder(memory, gts)
        groups = {name: queries.pop(name) for name in ('denoising', 'one_to_many') if name in queries}
        states = self.forward_decoder(memory=memory, **queries, **memory_inputs)
        return dict(states, **{name: group for name, group in groups.items() if group is not None})

    def pre_transformer(self, img_feats: tuple[Tensor], batch_data_samples: OptSampleList = None) -> tuple[dict, dict]:
        """Feature maps as S tokens (B, S, C), with positions (B, S, C), padding (B, S) or None, and their levels."""
        feats = img_feats[-self.num_feature_levels:]
        padded = {}
        if batch_data_samples:
            padded['image_sizes'] = [sample.img_shape[:2] for sample in batch_data_samples]
            padded['input_size'] = batch_data_samples[0].batch_input_shape
        levels = FeatureLevels.from_maps(feats, **padded)
        pos = [self.positional_encoding(mask, input=feat) for feat, mask in zip(feats, levels.masks)]
        if self.num_feature_levels > 1:
            pos = [level_pos + embed[:, None, None] for level_pos, embed in zip(pos, self.level_embed)]
        feat, pos = (torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], 1) for maps in (feats, pos))
        mask = levels.padding
        return (dict(feat=feat, feat_mask=mask, feat_pos=pos, levels=levels),
                dict(memory_mask=mask, memory_pos=pos, levels=levels))

    def forward_encoder(self, feat: Tensor, feat_mask: Tensor | None, feat_pos: Tensor,
                        levels: FeatureLevels) -> Tensor:
        """The encoded image, (B, S, C)."""
        return self.encoder(query=feat, query_pos=feat_pos, key_padding_mask=feat_mask, levels=levels)

    def pre_decoder(self, memory: Tensor, gts: GroundTruths | None = None) -> dict[str, Tensor]:
        """M matching queries, behind N denoising queries while training.

        Returns:
            dict: The tensors of :meth:`matching_queries`, each (B, N + M, .); ``self_attn_mask`` (N + M, N + M) or
            None; and ``denoising``, the :class:`DenoisingQueries` or None.
        """
        queries = self.matching_queries(len(memory))
        if self.denoising is None or gts is None or not self.training:
            return dict(queries, self_attn_mask=None, denoising=None)
        denoising = self.denoising(gts)
        noised = self.noised_queries(denoising)
        mask = denoising.attention_mask(next(iter(queries.values())).shape[1])
        joined = {name: torch.cat([noised[name], matching], 1) for name, matching in queries.items()}
        return dict(joined, self_attn_mask=mask, denoising=denoising)

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """Learnt positions and their content, zero unless there is denoising; both (B, M, C)."""
        query_pos = self.query_embedding.weight.expand(batch_size, -1, -1)
        return dict(query=self._know_nothing(torch.zeros_like(query_pos)), query_pos=query_pos)

    def _know_nothing(self, content: Tensor) -> Tensor:
        """Content (..., C) of matching queries, marked as such where there are denoising queries beside them."""
        return content if self.denoising is None else content + self.denoising.matching_content()

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Denoising queries in the form of :meth:`matching_queries`: the position is learnt from the noised box."""
        return dict(query=noised.content, query_pos=self.box_pos_head(noised.anchors))

    def forward_decoder(self, query: Tensor, query_pos: Tensor, self_attn_mask: Tensor | None, memory: Tensor,
                        memory_mask: Tensor | None, memory_pos: Tensor, levels: FeatureLevels) -> dict[str, Tensor]:
        """Hidden states of all decoder layers, (L, B, N + M, C)."""
        hidden_states = self.decoder(
            query=query,
            key=memory,
            value=memory,
            query_pos=query_pos,
            key_pos=memory_pos,
            self_attn_mask=self_attn_mask,
            key_padding_mask=memory_mask)
        return dict(hidden_states=hidden_states)
