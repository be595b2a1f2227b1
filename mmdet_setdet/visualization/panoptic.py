"""Pictures of panoptic maps."""

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData, PixelData

from ..registry import VISUALIZERS


@VISUALIZERS.register_module()
class PanopticVisualizer(DetLocalVisualizer):
    """mmdet's visualizer that draws maps alone, of ground truth and prediction, without the boxes of instances.

    A map without any segment, as an untrained model predicts it, is drawn too; mmdet's visualizer stops there.
    """

    def add_datasample(
        self, name: str, image: np.ndarray, data_sample: DetDataSample | None = None, **kwargs
    ) -> None:
        """Draw an image, see mmdet; segments of the ground truth are the masks of ``gt_instances``."""
        if data_sample is not None and 'pred_panoptic_seg' in data_sample:
            maps = DetDataSample(metainfo=data_sample.metainfo)
            maps.pred_panoptic_seg = data_sample.pred_panoptic_seg
            gts = data_sample.get('gt_instances', {})
            if 'masks' in gts:
                num_classes = len(self.dataset_meta['classes'])
                maps.gt_panoptic_seg = PixelData(sem_seg=_map_of(gts, num_classes)[None])
            data_sample = maps
        super().add_datasample(name, image, data_sample, **kwargs)

    def _draw_panoptic_seg(
        self, image: np.ndarray, panoptic_seg: PixelData, classes: list[str], palette: list
    ) -> np.ndarray:
        if (panoptic_seg.sem_seg == len(classes)).all():
            return image
        return super()._draw_panoptic_seg(image, panoptic_seg, classes, palette)


def _map_of(gts: InstanceData, void: int) -> np.ndarray:
    """The map of gts that do not overlap, by mmdet's convention, (H, W)."""
    masks = gts.masks.to_ndarray().astype(bool)
    result = np.full(masks.shape[1:], void)
    for number, (mask, label) in enumerate(zip(masks, gts.labels.tolist()), 1):
        result[mask] = label + INSTANCE_OFFSET * number
    return result
