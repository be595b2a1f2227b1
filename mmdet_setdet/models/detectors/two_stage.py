"""Two stages: the encoder proposes boxes, and the best are where the queries start (Deformable DETR, appendix A.4)."""

from abc import abstractmethod

import torch
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...registry import MODELS
from ..assignment import build_one_to_many
from ..dense_heads import DeformableDETRHead
from ..ground_truths import GroundTruths
from ..layers import FeatureLevels
from ..queries import Proposals


class TwoStage:
    """For detectors with a :class:`DeformableDETRHead`; a mix-in before :class:`DETR`.

    .. code:: text

        memory -> classifier, box branch of proposals -> best M boxes -> proposed_queries -> decoder
                                                      -> Proposals -> losses

    Each token proposes one box, a change of :meth:`FeatureLevels.cell_boxes`. Tokens in padding and at the very border
    of the image propose nothing.

    Who is trained on which gt is for the detector to say, or for ``proposal_assigner``. With it all tokens learn the
    classes, and several learn the same gt, as the cells of a dense head do. Of tokens next to each other only the one
    with the highest score becomes a query.

    Args:
        bbox_head (dict): Its ``as_two_stage`` is set here.
        as_two_stage (bool): Whether queries start from proposals, rather than from learned positions.
        proposal_assigner (dict, optional): Options of the assigner of all tokens, by default a
            :class:`SinkhornQueryAssigner`, optimal transport, with the costs of the model's matching.
        **kwargs: As :class:`DETR`.

    Raises:
        InputError: The head has no predictors for proposals; there is a ``one_to_many`` group, whose queries have
            learned positions; or there is a ``proposal_assigner`` for one stage.
    """

    binary_proposals = True  # see Proposals.is_binary

    def __init__(
        self,
        *args,
        bbox_head: ConfigType,
        as_two_stage: bool = False,
        proposal_assigner: OptConfigType = None,
        **kwargs,
    ) -> None:
        self.as_two_stage = as_two_stage
        if proposal_assigner is not None:
            self.binary_proposals = False
            if not as_two_stage:
                raise InputError(
                    'model.proposal_assigner is for proposals of the encoder: set model.as_two_stage=True, or '
                    'model.proposal_assigner=None'
                )
        if as_two_stage:
            bbox_head = dict(bbox_head, as_two_stage=True)
            if kwargs.get('one_to_many'):
                raise InputError(
                    'model.one_to_many needs queries with learned positions: set model.as_two_stage=False, or '
                    'model.one_to_many=None'
                )
        super().__init__(*args, bbox_head=bbox_head, **kwargs)
        self.proposal_assigner = None
        if proposal_assigner is not None:
            matching = (self.train_cfg or {}).get('assigner', {})
            self.proposal_assigner = build_one_to_many(
                proposal_assigner, matching.get('match_costs')
            )

    def _check_head(self, head_type: str | type) -> None:
        super()._check_head(head_type)
        head_class = MODELS.mmdet.get(head_type) if isinstance(head_type, str) else head_type
        is_class = isinstance(head_class, type)
        if self.as_two_stage and is_class and not issubclass(head_class, DeformableDETRHead):
            raise InputError(
                f'model.as_two_stage=True: {head_class.__name__} has no predictors for proposals of the encoder; set '
                "model.bbox_head.type='mmdet_setdet.DeformableDETRHead'"
            )

    def _init_proposals(self) -> None:
        self.memory_trans_fc = nn.Linear(self.embed_dims, self.embed_dims)
        self.memory_trans_norm = nn.LayerNorm(self.embed_dims)

    def init_weights(self) -> None:
        """Initialise as the detector; the projection of memory by Xavier's rule."""
        super().init_weights()
        if self.as_two_stage:
            nn.init.xavier_uniform_(self.memory_trans_fc.weight)

    def forward_encoder(self, levels: FeatureLevels, **tokens: Tensor) -> dict:
        """Encode as :meth:`DETR.forward_encoder`; two stages pass ``levels`` on."""
        outputs = super().forward_encoder(levels=levels, **tokens)
        return dict(outputs, levels=levels) if self.as_two_stage else outputs

    def pre_decoder(
        self,
        memory: Tensor,
        gts: GroundTruths | None = None,
        levels: FeatureLevels | None = None,
    ) -> tuple[dict, dict]:
        """Prepare the queries as :meth:`DETR.pre_decoder`; with gts the head gets the ``proposals``, too.

        Two stages require ``levels``, the feature maps that memory comes from.
        """
        if not self.as_two_stage:
            return super().pre_decoder(memory, gts)
        anchors, proposals = self.propose(memory, levels, gts is not None)
        queries = self.proposed_queries(anchors)
        decoder_inputs, head_inputs = self.add_groups(queries, memory, gts)
        if gts is not None:
            head_inputs['proposals'] = proposals
        return decoder_inputs, head_inputs

    def propose(
        self, memory: Tensor, levels: FeatureLevels, is_trained: bool
    ) -> tuple[Tensor, Proposals]:
        """Propose a box per token and choose the best M, or all if there are fewer.

        Args:
            memory (Tensor): The encoded image, (B, S, C).
            levels (FeatureLevels): The feature maps that memory comes from.
            is_trained (bool): Whether there will be losses. Without, boxes are predicted for the best alone.

        Returns:
            tuple[Tensor, Proposals]: The best boxes before the sigmoid, detached, (B, M, 4), and what is trained.
        """
        cells = levels.cell_boxes()
        is_inside = ((cells > 0.01) & (cells < 0.99)).all(-1, keepdim=True)
        starts = cells.logit().masked_fill(~is_inside, torch.inf)
        tokens = memory.masked_fill(~is_inside, 0)
        tokens = self.memory_trans_norm(self.memory_trans_fc(tokens))

        logits = self.bbox_head.classify_proposals(tokens)
        scores = logits[..., 0] if self.binary_proposals else logits.amax(-1)
        if self.proposal_assigner is not None:
            scores = _peaks_first(scores, levels)
        num_best = min(self.num_queries, scores.shape[1])
        best = scores.topk(num_best, 1).indices

        trains_all_tokens = self.binary_proposals or self.proposal_assigner is not None
        if is_trained and trains_all_tokens:
            boxes = self.bbox_head.regress_proposals(tokens) + starts
            anchors = _rows(boxes, best)
        else:
            logits = _rows(logits, best)
            changes = self.bbox_head.regress_proposals(_rows(tokens, best))
            boxes = anchors = changes + _rows(starts, best)
        proposals = Proposals(
            logits, boxes.float().sigmoid(), self.binary_proposals, self.proposal_assigner
        )
        return anchors.detach(), proposals

    @abstractmethod
    def proposed_queries(self, anchors: Tensor) -> dict[str, Tensor]:
        """Make the matching queries of proposals (cx, cy, w, h) before the sigmoid, (B, M, 4)."""


def _peaks_first(scores: Tensor, levels: FeatureLevels) -> Tensor:
    """Lower the scores (B, S) of tokens next to a better one of their map, so that they come after all others.

    For example a map of one row with the scores 1 3 2 0 1 is ordered as 3 1 2 1 0: the peaks 3 and 1 are first.
    """
    peaks = []
    for level_scores, shape in zip(levels.split(scores), levels.shapes):
        score_map = level_scores.unflatten(1, shape)
        peaks.append(F.max_pool2d(score_map, kernel_size=3, stride=1, padding=1).flatten(1))
    is_beside_peak = scores < torch.cat(peaks, 1)
    return scores - 1000.0 * is_beside_peak


def _rows(tokens: Tensor, index: Tensor) -> Tensor:
    """Select tokens (B, S, C) by their index (B, M), (B, M, C); ``take_along_dim`` would fix B in exported files."""
    index = index[..., None].expand(-1, -1, tokens.shape[-1])
    return tokens.gather(1, index)
