"""DINO: anchor boxes from the encoder, learned contents, contrastive denoising."""

from mmdet.utils import OptConfigType
from torch import Tensor, nn

from ...errors import InputError
from ...registry import MODELS
from .dab_detr import DABDETR


@MODELS.register_module()
class DINO(DABDETR):
    """DINO (arXiv 2203.03605): :class:`DABDETR` in two stages with :class:`DINODecoder` and :class:`DINODenoising`.

    .. code:: text

        memory -> proposals -> the best boxes are anchors --.
        learned contents, query_embedding ------------------+-> decoder -> head -> losses | results
        gts -> contrastive denoising -> content, anchors ---'

    The arguments and the names of the parameters are mmdet's DINO's, whose checkpoints load as they are.

    Args:
        with_box_refine (bool): True.
        as_two_stage (bool): True.
        learn_content (bool): True.
        dn_cfg (dict, optional): Options of :class:`DINODenoising`; None: no denoising.
        num_feature_levels (int): As :class:`DETR`.
        **kwargs: As :class:`DABDETR`.

    Raises:
        InputError: One of the first three is False.
    """

    default_types = dict(
        encoder='mmdet_setdet.DeformableEncoder', decoder='mmdet_setdet.DINODecoder'
    )
    group_types = dict(DABDETR.group_types, dn_query_generator='mmdet_setdet.DINODenoising')
    binary_proposals = False

    def __init__(
        self,
        *args,
        with_box_refine: bool = True,
        as_two_stage: bool = True,
        learn_content: bool = True,
        dn_cfg: OptConfigType = None,
        num_feature_levels: int = 4,
        query_groups: OptConfigType = None,
        **kwargs,
    ) -> None:
        if not (with_box_refine and as_two_stage and learn_content):
            raise InputError(
                'model.with_box_refine, as_two_stage and learn_content must be True for DINO, got '
                f'{with_box_refine}, {as_two_stage} and {learn_content}'
            )
        super().__init__(
            *args,
            as_two_stage=True,
            learn_content=True,
            num_feature_levels=num_feature_levels,
            query_groups=dict(dn_query_generator=dn_cfg, **(query_groups or {})),
            **kwargs,
        )

    def _init_queries(self) -> None:
        self._init_proposals()
        self.query_embedding = nn.Embedding(self.num_queries, self.embed_dims)

    def learned_content(self) -> Tensor:
        """The content of each matching query, (M, C)."""
        return self.query_embedding.weight
