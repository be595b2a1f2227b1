"""DETR: the flow from image to loss or result, in mmdet's frame."""

from functools import partial

import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.layers import SinePositionalEncoding
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType
from mmengine.structures import PixelData
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from ..dense_heads import DETRHead
from ..ground_truths import GroundTruths
from ..layers import FeatureLevels
from ..layers.fast import use_onednn
from ..mask_heads.detr_mask_head import ImageFeatures
from ..queries import BoxPosition, DenoisingQueries, GroupQueries, QueryGroup, joint_mask


@MODELS.register_module()
class DETR(DetectionTransformer):
    """DETR (arXiv 2005.12872): an image becomes tokens, learned queries cross-attend to them, a head reads the queries.

    .. code:: text

        images -> backbone, neck -> tokens, positions -> encoder -> memory -.
                                                                            v
        gts -> query groups (in training) -> [groups | matching queries] -> decoder -> head -> losses | results

    The arguments are mmdet's DETR's, and so are the names of the parameters: its checkpoints load as they are.

    Args:
        denoising (dict, optional): Options of :class:`Denoising`: in training, noised gts are decoded beside the
            matching queries (DN-DETR).
        one_to_many (dict, optional): Options of :class:`OneToMany`: in training, more learned queries are decoded,
            several of which are matched to each gt (H-DETR).
        query_groups (dict[str, dict], optional): Further query groups by name, each with a ``type`` that is a
            :class:`QueryGroup`.
        num_feature_levels (int): Number of feature maps to use, the last ones of the neck. Several levels are
            distinguished by ``level_embed`` and require an encoder and a decoder for several levels.
        mask_head (dict, optional): A :class:`DETRMaskHead`, which predicts the masks of the queries. It requires the
            backbone's finer maps: ``backbone.out_indices=(0, 1, 2, 3)``.
        freeze_detector (bool): Train the mask head alone, on a detector that has been trained before. Denoising and
            other query groups are left out then.
        **kwargs: As mmdet's ``DetectionTransformer``. ``encoder`` and ``decoder`` may name another ``type``.

    Raises:
        InputError: The head is not one of this package, a query group has no known type, or nothing is left to train.
    """

    default_types = dict(encoder='mmdet_setdet.DETREncoder', decoder='mmdet_setdet.DETRDecoder')
    group_types = dict(denoising='mmdet_setdet.Denoising', one_to_many='mmdet_setdet.OneToMany')

    def __init__(
        self,
        *args,
        decoder: ConfigType,
        bbox_head: ConfigType,
        denoising: OptConfigType = None,
        one_to_many: OptConfigType = None,
        query_groups: OptConfigType = None,
        num_feature_levels: int = 1,
        mask_head: OptConfigType = None,
        freeze_detector: bool = False,
        **kwargs,
    ) -> None:
        self.group_configs = dict(
            denoising=denoising, one_to_many=one_to_many, **(query_groups or {})
        )
        self.num_feature_levels = num_feature_levels
        self._check_head(bbox_head['type'])
        bbox_head = dict(bbox_head, num_pred_layer=decoder['num_layers'])
        super().__init__(*args, decoder=decoder, bbox_head=bbox_head, **kwargs)
        self.freeze_detector = freeze_detector
        if freeze_detector:
            self.requires_grad_(False)
            if mask_head is None:
                raise InputError(
                    'model.freeze_detector=True requires a mask_head: it alone is trained then'
                )
        self.mask_head = mask_head and MODELS.build(mask_head)
        use_onednn(self)

    def _check_head(self, head_type: str | type) -> None:
        head_class = MODELS.mmdet.get(head_type) if isinstance(head_type, str) else head_type
        # A registry may also hold functions that build a head.
        if isinstance(head_class, type) and not issubclass(head_class, DETRHead):
            name = head_class.__name__
            raise InputError(
                f"model.bbox_head is mmdet's {name}, which this {type(self).__name__} cannot train; set "
                f"model.bbox_head.type='mmdet_setdet.{name}'"
            )

    def _init_layers(self) -> None:
        self.positional_encoding = SinePositionalEncoding(**self.positional_encoding)
        for part, default_type in self.default_types.items():
            config = {'type': default_type, **getattr(self, part)}
            setattr(self, part, MODELS.build(config))
        self.embed_dims = self.encoder.embed_dims
        if self.num_feature_levels > 1:
            self.level_embed = nn.Parameter(torch.randn(self.num_feature_levels, self.embed_dims))

        # Denoising comes before the queries and the other groups behind them: the order of the parameters is that of
        # the optimizer states in checkpoints.
        self._init_group('denoising')
        self._init_queries()
        for name in self.group_configs:
            if name != 'denoising':
                self._init_group(name)

    def _init_queries(self) -> None:
        if self.denoising is not None:
            self.box_pos_head = BoxPosition(self.embed_dims)
        self.query_embedding = nn.Embedding(self.num_queries, self.query_dims)

    @property
    def query_dims(self) -> int:
        """int: Size of a row of ``query_embedding``: here a position."""
        return self.embed_dims

    def _init_group(self, name: str) -> None:
        """Build a query group as the attribute ``name``; None if it is off, or if there is no assigner to train it."""
        config = self.group_configs[name]
        if config is None or (name == 'one_to_many' and not self.train_cfg):
            setattr(self, name, None)
            return
        options = dict(config)
        type_name = options.pop('type', self.group_types.get(name))
        group_type = MODELS.mmdet.get(type_name) if type_name else None
        if not (isinstance(group_type, type) and issubclass(group_type, QueryGroup)):
            raise InputError(
                f'model.query_groups.{name}: type={type_name!r} is not the name of a query group, such as '
                f'{", ".join(self.group_types.values())}; see docs/extending.md'
            )
        setattr(self, name, group_type.from_detector(self, **options))

    @property
    def query_groups(self) -> list[QueryGroup]:
        """list[QueryGroup]: The groups that are on, in the order of their queries."""
        groups = [getattr(self, name) for name in self.group_configs]
        return [group for group in groups if group is not None]

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses of a batch of images (B, 3, H, W) and their data samples."""
        gts = GroundTruths.from_samples(batch_data_samples)
        feats = self.extract_feat(batch_inputs)
        gts_of_groups = None if self.freeze_detector else gts
        head_inputs, encoded = self.decode_tokens(
            *self.pre_transformer(feats, batch_data_samples), gts_of_groups
        )
        if self.mask_head is not None:
            head_inputs['mask_loss'] = partial(
                self.mask_head.loss,
                states=self._mask_states(**head_inputs),
                gts=gts,
                features=self._mask_features(feats, **encoded),
            )
        return self.bbox_head.loss(gts, **head_inputs)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Predict the results of a batch, see mmdet.

        Returns:
            list[DetDataSample]: The samples with ``pred_instances``: ``bboxes``, ``scores``, ``labels`` and, with a
            mask head, ``masks``, bool, (N, H, W). If the mask head has stuff, also with ``pred_panoptic_seg``, whose
            ``sem_seg`` (1, H, W) is a :func:`panoptic_map`.
        """
        if self.mask_head is None:
            return super().predict(batch_inputs, batch_data_samples, rescale)
        feats = self.extract_feat(batch_inputs)
        head_inputs, encoded = self.decode_tokens(*self.pre_transformer(feats, batch_data_samples))
        results = self.bbox_head.predict(
            batch_data_samples, rescale, with_queries=True, **head_inputs
        )
        results, panoptic_maps = self.mask_head.predict(
            self._mask_states(**head_inputs),
            self._mask_features(feats, **encoded),
            results,
            batch_data_samples,
            self.bbox_head.num_classes,
            rescale,
        )
        for sample, panoptic_map in zip(batch_data_samples, panoptic_maps):
            if panoptic_map is not None:
                sample.pred_panoptic_seg = PixelData(sem_seg=panoptic_map[None])
        return self.add_pred_to_datasample(batch_data_samples, results)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of the neck; with a mask head those of the backbone but the last come before."""
        if self.mask_head is None:
            return super().extract_feat(batch_inputs)
        maps = self.backbone(batch_inputs)
        num_used = len(self.neck.convs)
        return *maps[:-1], *self.neck(maps[-num_used:])

    def _mask_states(self, hidden_states: Tensor, groups=(), **others) -> Tensor:
        """The last states of the matching queries, (B, M, C); query groups come before them."""
        start = sum(len(group) for group in groups)
        return hidden_states[-1][:, start:]

    def _mask_features(
        self, img_feats: tuple[Tensor, ...], memory: Tensor, levels: FeatureLevels
    ) -> ImageFeatures:
        """What masks read: of several feature levels the one of the backbone's last map, and the maps before that."""
        num_extra = len(self.neck.extra_convs or ())
        level = len(levels.shapes) - 1 - num_extra
        num_finer = len(self.mask_head.adapters)
        finer = img_feats[:num_finer]
        return self.mask_head.encode(
            img_feats[len(img_feats) - 1 - num_extra],
            levels.split(memory)[level],
            levels.masks[level],
            finer[::-1],
        )

    def forward_transformer(
        self,
        img_feats: tuple[Tensor],
        batch_data_samples: OptSampleList = None,
        gts: GroundTruths | None = None,
    ) -> dict:
        """Turn feature maps into decoded queries: tokens -> memory -> queries -> hidden states.

        Args:
            img_feats (tuple[Tensor]): Feature maps, each (B, C, h, w); the last ``num_feature_levels`` are used.
            batch_data_samples (list[DetDataSample], optional): Tell what is padding; without them nothing is.
            gts (GroundTruths, optional): The gts, in training.

        Returns:
            dict: The inputs of the head: hidden states and what boxes start from, and ``groups``, the query groups
            that come before the matching queries, if there are any.
        """
        head_inputs, _ = self.decode_tokens(
            *self.pre_transformer(img_feats, batch_data_samples), gts
        )
        return head_inputs

    def decode_tokens(
        self, encoder_inputs: dict, decoder_inputs: dict, gts: GroundTruths | None = None
    ) -> tuple[dict, dict]:
        """Turn tokens into decoded queries: the inputs of the head, and what a mask head reads besides.

        The arguments are what :meth:`tokenize` returns; the second result holds ``memory`` and ``levels``.
        """
        encoder_outputs = self.forward_encoder(**encoder_inputs)
        queries, head_inputs = self.pre_decoder(**encoder_outputs, gts=gts)
        decoder_outputs = self.forward_decoder(**queries, **decoder_inputs)
        encoded = dict(memory=encoder_outputs['memory'], levels=encoder_inputs['levels'])
        return dict(**decoder_outputs, **head_inputs), encoded

    def pre_transformer(
        self, img_feats: tuple[Tensor], batch_data_samples: OptSampleList = None
    ) -> tuple[dict, dict]:
        """Flatten feature maps to tokens.

        Returns:
            tuple[dict, dict]: For the encoder S tokens (B, S, C), positions (B, S, C), padding (B, S) or None, and
            the feature levels; for the decoder the last three.
        """
        feats = img_feats[-self.num_feature_levels :]
        sizes = {}
        if batch_data_samples:
            sizes['image_sizes'] = [sample.img_shape[:2] for sample in batch_data_samples]
            sizes['input_size'] = batch_data_samples[0].batch_input_shape
        levels = FeatureLevels.from_maps(feats, **sizes)
        return self.tokenize(feats, levels)

    def tokenize(self, feats: tuple[Tensor], levels: FeatureLevels) -> tuple[dict, dict]:
        """Flatten feature maps whose padding is known, see :meth:`pre_transformer`."""
        pos = [
            self.positional_encoding(mask, input=feat) for feat, mask in zip(feats, levels.masks)
        ]
        if self.num_feature_levels > 1:
            pos = [
                level_pos + embed[:, None, None] for level_pos, embed in zip(pos, self.level_embed)
            ]
        tokens, pos = levels.flatten(feats), levels.flatten(pos)
        padding = levels.padding
        encoder_inputs = dict(feat=tokens, feat_mask=padding, feat_pos=pos, levels=levels)
        decoder_inputs = dict(memory_mask=padding, memory_pos=pos, levels=levels)
        return encoder_inputs, decoder_inputs

    def forward_encoder(
        self, feat: Tensor, feat_mask: Tensor | None, feat_pos: Tensor, levels: FeatureLevels
    ) -> dict[str, Tensor]:
        """Encode the image tokens: ``memory`` (B, S, C)."""
        memory = self.encoder(
            query=feat, query_pos=feat_pos, key_padding_mask=feat_mask, levels=levels
        )
        return dict(memory=memory)

    def pre_decoder(self, memory: Tensor, gts: GroundTruths | None = None) -> tuple[dict, dict]:
        """Prepare the queries: M matching queries and, in training, those of the query groups before them.

        Args:
            memory (Tensor): The encoded image, (B, S, C).
            gts (GroundTruths, optional): The gts, in training.

        Returns:
            tuple[dict, dict]: For the decoder ``memory``, the tensors of :meth:`matching_queries` for all Q queries,
            each (B, Q, .), and ``self_attn_mask`` (Q, Q) or None; for the head ``groups``, a list of
            :class:`GroupQueries`, if there are any.
        """
        return self.add_groups(self.matching_queries(memory.shape[0]), memory, gts)

    def add_groups(
        self, queries: dict[str, Tensor], memory: Tensor, gts: GroundTruths | None
    ) -> tuple[dict, dict]:
        """Put the queries of the query groups before the matching queries, see :meth:`pre_decoder`."""
        groups: list[GroupQueries] = []
        if self.training and gts is not None:
            groups = self._group_queries(gts)
        if not groups:
            return dict(queries, memory=memory, self_attn_mask=None), {}

        num_matching = queries['query'].shape[1]
        parts = [group.queries for group in groups] + [queries]
        joined = {name: torch.cat([part[name] for part in parts], 1) for name in queries}
        mask = joint_mask(groups, num_matching)
        return dict(joined, memory=memory, self_attn_mask=mask), dict(groups=groups)

    @torch.compiler.disable  # gts and their numbers differ from batch to batch
    def _group_queries(self, gts: GroundTruths) -> list[GroupQueries]:
        """Return the queries of all groups in a training step."""
        return [group.queries_for(self, gts) for group in self.query_groups]

    def matching_queries(self, batch_size: int) -> dict[str, Tensor]:
        """The M queries that are matched by costs, and all that there is at inference, see :meth:`learned_queries`."""
        return self.learned_queries(self.query_embedding.weight, batch_size)

    def learned_queries(self, embedding: Tensor, batch_size: int) -> dict[str, Tensor]:
        """Make queries of learned rows.

        Args:
            embedding (Tensor): Rows of ``query_embedding``, or of a query group's, (N, C).
            batch_size (int): Number of images B.

        Returns:
            dict[str, Tensor]: ``query``, their content, and ``query_pos``, both (B, N, C).
        """
        query_pos = embedding.expand(batch_size, -1, -1)
        content = torch.zeros_like(query_pos)
        return dict(query=self.mark_as_matching(content), query_pos=query_pos)

    def noised_queries(self, noised: DenoisingQueries) -> dict[str, Tensor]:
        """Make queries of noised gts, in the form of :meth:`matching_queries`: positions are learned from the boxes."""
        return dict(query=noised.content, query_pos=self.box_pos_head(noised.anchors))

    def mark_as_matching(self, content: Tensor) -> Tensor:
        """Add to content (..., C) what distinguishes matching from denoising queries, if there is denoising."""
        if self.denoising is None:
            return content
        return content + self.denoising.matching_content()

    def forward_decoder(
        self,
        query: Tensor,
        query_pos: Tensor,
        self_attn_mask: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
        memory_pos: Tensor,
        levels: FeatureLevels,
    ) -> dict[str, Tensor]:
        """Decode Q queries: ``hidden_states`` of all decoder layers, (L, B, Q, C)."""
        hidden_states = self.decoder(
            query=query,
            key=memory,
            value=memory,
            query_pos=query_pos,
            key_pos=memory_pos,
            self_attn_mask=self_attn_mask,
            key_padding_mask=memory_mask,
        )
        return dict(hidden_states=hidden_states)
