"""Masks for random batches."""

import numpy as np
from mmdet.structures.mask import BitmapMasks


def add_masks(samples):
    """Give each gt its box, filled, as its mask, in the size of the padded batch; return the data samples."""
    for sample in samples:
        height, width = sample.batch_input_shape
        boxes = sample.gt_instances.bboxes.round().int().tolist()
        masks = np.zeros((len(boxes), height, width), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes):
            mask[top:bottom, left:right] = 1
        sample.gt_instances.masks = BitmapMasks(masks, height, width)
        sample.set_metainfo(dict(pad_shape=(height, width)))
    return samples
