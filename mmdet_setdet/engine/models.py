"""Models outside of a runner: built with reproducible weights, or with those of a checkpoint."""

import logging

import torch
from mmdet.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import nn

from ..checks import check_fit
from ..checks.checkpoints import dataset_meta


def build_model(cfg: dict, checkpoint: str | None = None, seed: int = 0) -> nn.Module:
    """Build a model and load a checkpoint or, without one, initialise its weights.

    Unlike mmdet's ``init_detector`` it runs ``init_weights`` and checks that the checkpoint belongs to the model.

    Args:
        cfg (dict): The ``model`` of a config.
        checkpoint (str, optional): Checkpoint file or URL. What it says of its data set becomes ``dataset_meta``, as in
            mmdet.
        seed (int): Seed of the random weights.

    Raises:
        InputError: The file is not a checkpoint, or the checkpoint is not of this model.
    """
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    if checkpoint is not None:
        loaded = load_checkpoint(model, checkpoint, map_location='cpu')
        check_fit(model, loaded, checkpoint)
        model.dataset_meta = dataset_meta(loaded)
        return model
    logging.disable(logging.INFO)  # mmengine would log every parameter
    try:
        model.init_weights()
    finally:
        logging.disable(logging.NOTSET)
    return model
