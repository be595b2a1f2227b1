"""Where a config keeps the pipeline of its images, and that pipeline for images that are loaded already."""

from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose


def with_pipeline(dataset: ConfigDict) -> ConfigDict:
    """Return the config of the data set that has the pipeline: this one, or one inside it (``RepeatDataset``, ...)."""
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def array_pipeline(cfg: Config) -> Compose:
    """Return the pipeline of the tests for arrays (H, W, 3) of uint8, blue, green, red, as ``dict(img=..., img_id=0)``.

    Unlike mmdet's ``inference_detector`` it leaves the config as it is.
    """
    first, *others = get_test_pipeline_cfg(cfg)
    return Compose([dict(first, type='mmdet.LoadImageFromNDArray'), *others])
