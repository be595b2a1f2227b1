"""DETR: the flow from image to loss or result, in mmdet's frame."""

import torch
from mmdet.models.detectors import DetectionTransformer
from mmdet.models.layers import SinePositionalEncoding
from mmdet.structures import OptSampleList, SampleList
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS
from ..ground_truths import GroundTruths
from ..layers import Decoder, Encoder


def padding_mask(image_sizes: list[tuple[int, int]], input_size: tuple[int, int], feature_size: tuple[int, int],
                 device: torch.device) -> Tensor | None:
    """Which cells of a feature map show padding only, by nearest-neighbour reduction as in DETR.

    Args:
        image_sizes (list[tuple[int, int]]): Height and width of each image without padding.
        input_size (tuple[int, int]): Height and width of the padded batch.
        feature_size (tuple[int, int]): Height h and width w of the feature map.
        device (torch.device): Where the mask is wanted.

    Returns:
        Tensor | None: True where padding, (B, h, w); None where no image is padded.
    """
    if all(tuple(size) == tuple(input_size) for size in image_sizes):
        return None
    sizes = torch.tensor(image_sizes).to(device, non_blocking=True)
    rows, cols = (
        F.interpolate((torch.arange(full, device=device) >= size[:, None])[:, None].float(), size=small)[:, 0].bool()
        for full, small, size in zip(input_size, feature_size, sizes.unbind(1)))
    return rows[:, :, None] | cols[:, None, :]


@MODELS.register_module()
class DETR(DetectionTransformer):
    """DETR (arXiv 2005.12872): an image becomes tokens, learnt queries look at them, a head reads the queries.

    .. code:: text

        images -> backbone, neck -> tokens, positions -> encoder -> memory -.
                                                                            v
                                              queries ------------------> decoder -> head -> losses | results

    ``encoder``, ``decoder`` and ``positional_encoding`` are configured as mmdet's DETR, and the parameters have
    mmdet's names, so its checkpoints load as they are.
    """

    def _init_layers(self) -> None:
        self.positional_encoding = SinePositionalEncoding(**self.positional_encoding)
        self.encoder = Encoder(**self.encoder)
        self.decoder = Decoder(**self.decoder)
        self.embed_dims = self.encoder.embed_dims
        self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)

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
            img_feats (tuple[Tensor]): Feature maps; the last, (B, C, h, w), is used.
            batch_data_samples (list[DetDataSample], optional): They tell what is padding; without them nothing is.
            gts (GroundTruths, optional): The objects, in training.

        Returns:
            dict: What the head takes.
        """
        encoder_inputs, memory_inputs = self.pre_transformer(img_feats, batch_data_samples)
        memory = self.forward_encoder(**encoder_inputs)
        return self.forward_decoder(memory=memory, **self.pre_decoder(memory, gts), **memory_inputs)

    def pre_transformer(self, img_feats: tuple[Tensor], batch_data_samples: OptSampleList = None) -> tuple[dict, dict]:
        """The last feature map as tokens (B, hw, C), with positions (B, hw, C) and padding (B, hw) or None."""
        feat = img_feats[-1]
        mask = None
        if batch_data_samples:
            sizes = [sample.img_shape[:2] for sample in batch_data_samples]
            mask = padding_mask(sizes, batch_data_samples[0].batch_input_shape, feat.shape[-2:], feat.device)
        pos = self.positional_encoding(mask, input=feat).flatten(2).transpose(1, 2)
        mask = None if mask is None else mask.flatten(1)
        feat = feat.permute(0, 2, 3, 1).flatten(1, 2)
        return dict(feat=feat, feat_mask=mask, feat_pos=pos), dict(memory_mask=mask, memory_pos=pos)

    def forward_encoder(self, feat: Tensor, feat_mask: Tensor | None, feat_pos: Tensor) -> Tensor:
        """The encoded image, (B, hw, C)."""
        return self.encoder(query=feat, query_pos=feat_pos, key_padding_mask=feat_mask)

    def pre_decoder(self, memory: Tensor, gts: GroundTruths | None = None) -> dict[str, Tensor]:
        """Queries: zeros as content, learnt positions, both (B, Q, C)."""
        query_pos = self.query_embedding.weight.expand(len(memory), -1, -1)
        return dict(query=torch.zeros_like(query_pos), query_pos=query_pos)

    def forward_decoder(self, query: Tensor, query_pos: Tensor, memory: Tensor, memory_mask: Tensor | None,
                        memory_pos: Tensor) -> dict[str, Tensor]:
        """Hidden states of all decoder layers, (L, B, Q, C)."""
        return dict(
            hidden_states=self.decoder(
                query=query,
                key=memory,
                value=memory,
                query_pos=query_pos,
                key_pos=memory_pos,
                key_padding_mask=memory_mask))
