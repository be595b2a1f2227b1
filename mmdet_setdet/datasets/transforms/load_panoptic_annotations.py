"""Loading COCO's panoptic maps without panopticapi."""

import mmcv
import numpy as np
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.datasets.transforms import LoadPanopticAnnotations as MMDetLoadPanopticAnnotations
from mmdet.structures.mask import BitmapMasks
from mmengine.fileio import get

from ...errors import InputError
from ...evaluation.panoptic_quality import rgb_to_id
from ...registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadPanopticAnnotations(MMDetLoadPanopticAnnotations):
    """Every segment of a panoptic map, thing or stuff, is a gt with box, class and mask, as DETR learns them.

    Where mmdet's class of this name loads instances of things and, apart from them, a map of classes, here stuff is an
    object like others, and so are crowds, as in the code of DETR's authors. Boxes are those of the masks.

    Required are ``seg_map_path`` and ``segments_info`` of mmdet's ``CocoPanopticDataset``; added are ``gt_bboxes``,
    ``gt_bboxes_labels``, ``gt_ignore_flags`` and ``gt_masks``. An image without a map stays as it is.

    Args:
        backend_args (dict, optional): Where files are read from, as in mmengine.

    Raises:
        InputError: A segment of the annotation file is not in the map.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        # The constructor of mmdet's class fails without panopticapi.
        LoadAnnotations.__init__(self, with_mask=True, backend_args=backend_args)

    def transform(self, results: dict) -> dict:
        path = results.get('seg_map_path')
        if path is None:
            return results
        content = get(path, backend_args=self.backend_args)
        image = mmcv.imfrombytes(content, flag='color', channel_order='rgb')
        segment_map = rgb_to_id(image)
        segments = results['segments_info']
        masks = [segment_map == segment['id'] for segment in segments]
        for mask, segment in zip(masks, segments):
            if not mask.any():
                raise InputError(
                    f'{path}: has no pixel of segment {segment["id"]}, which the annotation file lists'
                )
        masks = [mask.astype(np.uint8) for mask in masks]
        masks = BitmapMasks(masks, *segment_map.shape)
        labels = [segment['category'] for segment in segments]
        results['gt_masks'] = masks
        results['gt_bboxes'] = masks.get_bboxes('hbox')
        results['gt_bboxes_labels'] = np.array(labels, dtype=np.int64)
        results['gt_ignore_flags'] = np.zeros(len(labels), dtype=bool)
        return results
