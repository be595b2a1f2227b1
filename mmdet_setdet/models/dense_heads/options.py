"""What the options of a DETR's head are turned into before anything is built of them."""

from mmdet.models.task_modules.assigners import HungarianAssigner as MMDetHungarianAssigner
from mmdet.utils import ConfigType

from ...errors import InputError
from ...registry import TASK_UTILS
from ..assignment import HungarianAssigner


def with_class_weights(loss_cls: ConfigType, num_classes: int) -> dict:
    """Replace mmdet's ``class_weight`` and ``bg_cls_weight`` of a softmax loss by its K + 1 weights."""
    loss_cls = dict(loss_cls)
    no_object_weight = loss_cls.pop('bg_cls_weight', 1.0)
    if not loss_cls.get('use_sigmoid', False):
        weight = loss_cls.get('class_weight') or 1.0
        loss_cls['class_weight'] = [weight] * num_classes + [no_object_weight]
    return loss_cls


def build_assigner(train_cfg: ConfigType):
    """The assigner of a head, with ``match``; mmdet's Hungarian assigner is replaced by ours of the same costs."""
    config = train_cfg.get('assigner')
    if config is None:
        raise InputError(
            'model.train_cfg needs an assigner, e.g. dict(type="mmdet_setdet.HungarianAssigner", '
            f'match_costs=[...]); it has {sorted(train_cfg)}'
        )
    assigner = TASK_UTILS.build(config)
    if type(assigner) is MMDetHungarianAssigner:
        assigner = HungarianAssigner(config['match_costs'])
    if not hasattr(assigner, 'match'):
        raise InputError(
            f'model.train_cfg.assigner: {type(assigner).__name__} matches one image at a time, and this '
            'head a whole batch; use type="mmdet_setdet.HungarianAssigner"'
        )
    return assigner
