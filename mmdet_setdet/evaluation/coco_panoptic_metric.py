"""mmdet's panoptic metric without panopticapi, which is on no package index."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.evaluation.metrics.coco_panoptic_metric import parse_pq_results, print_panoptic_table
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get
from mmengine.logging import MMLogger

from ..checks.panoptic import CheckedCOCOPanoptic
from ..errors import InputError
from ..registry import METRICS
from .panoptic_quality import (
    VOID,
    PanopticQuality,
    Segments,
    gt_segments,
    quality_counts,
    rgb_to_id,
)


@METRICS.register_module()
class CocoPanopticMetric(BaseMetric):
    """PQ, SQ and RQ of all classes, things and stuff, in per cent, under the names of mmdet's ``CocoPanopticMetric``.

    Nothing is written to disk: the predicted maps are compared with the PNGs of the ground truth at once.

    Args:
        ann_file (str): COCO's panoptic annotation file.
        seg_prefix (str): Folder of its PNGs.
        classwise (bool): Whether to log a table of the classes, too.
        backend_args (dict, optional): Where files are read from, as in mmengine.
        **kwargs: ``collect_device`` and ``prefix``, as in mmengine.

    Raises:
        InputError: The annotation file, the folder, a PNG or an image's annotation is missing.
    """

    default_prefix = 'coco_panoptic'

    def __init__(
        self,
        ann_file: str,
        seg_prefix: str,
        classwise: bool = False,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.ann_file = ann_file
        self.seg_prefix = Path(seg_prefix)
        self.classwise = classwise
        self.backend_args = backend_args
        self.coco = CheckedCOCOPanoptic(ann_file)
        self.category_index = {id_: i for i, id_ in enumerate(self.coco.cats)}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare a batch of predicted maps with the ground truth."""
        for sample in data_samples:
            if 'pred_panoptic_seg' not in sample:
                raise InputError(
                    'the model predicts no panoptic map, which PQ is computed from: set model.mask_head.num_things'
                )
            gt_map, gt = self._ground_truth(sample['img_id'])
            pred_map, pred = self._prediction(sample)
            if pred_map.shape != gt_map.shape:
                raise InputError(
                    f'image {sample["img_id"]}: its panoptic PNG has {gt_map.shape} rows and columns, the image '
                    f'{pred_map.shape}'
                )
            counts = quality_counts(gt_map, gt, pred_map, pred, len(self.category_index))
            self.results.append(counts)

    def _ground_truth(self, image_id: int) -> tuple[np.ndarray, Segments]:
        if image_id not in self.coco.imgs:
            raise InputError(
                f'{self.ann_file}: has no image {image_id}, which is in the data set; give the evaluator the ann_file '
                'of the data set'
            )
        path = self.seg_prefix / self.coco.imgs[image_id]['segm_file']
        try:
            content = get(str(path), backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise InputError(
                f'{path}: no such panoptic PNG; check seg_prefix of the evaluator'
            ) from error
        image = mmcv.imfrombytes(content, flag='color', channel_order='rgb')
        infos = self.coco.imgToAnns[image_id]
        return rgb_to_id(image), gt_segments(infos, self.category_index, self.ann_file)

    def _prediction(self, sample: dict) -> tuple[np.ndarray, Segments]:
        """Read a map of ``label + INSTANCE_OFFSET * instance``."""
        segment_map = sample['pred_panoptic_seg']['sem_seg'].cpu().numpy()[0].astype(np.int64)
        num_classes = len(self.dataset_meta['classes'])
        is_void = segment_map % INSTANCE_OFFSET == num_classes
        # Ids from 1 on: 0 is void.
        segment_map = np.where(is_void, VOID, segment_map + 1)
        ids, areas = np.unique(segment_map[~is_void], return_counts=True)
        labels = (ids - 1) % INSTANCE_OFFSET
        segments = Segments(
            ids=ids,
            categories=self._categories_of_labels()[labels],
            areas=areas.astype(np.float64),
            is_crowd=np.zeros(len(ids), dtype=bool),
        )
        return segment_map, segments

    def _categories_of_labels(self) -> np.ndarray:
        """The index of the category of each label of the model: labels follow the order of the file, as in mmdet."""
        ids = self.coco.get_cat_ids(cat_names=self.dataset_meta['classes'])
        return np.array([self.category_index[id_] for id_ in ids])

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Sum up over the images and average over the categories."""
        is_thing = [category['isthing'] == 1 for category in self.coco.cats.values()]
        quality = PanopticQuality(sum(results), np.array(is_thing))
        averages = quality.results()
        classwise = None
        if self.classwise:
            names = [category['name'] for category in self.coco.cats.values()]
            values = quality.by_category().tolist()
            classwise = {
                name: dict(zip(('pq', 'sq', 'rq'), value)) for name, value in zip(names, values)
            }
        print_panoptic_table(averages, classwise, logger=MMLogger.get_current_instance())
        return parse_pq_results(averages)
