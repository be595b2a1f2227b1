"""The hooks that save pictures while a config is tested."""

from pathlib import Path

from mmengine.config import Config


def save_test_pictures(cfg: Config, folder: str) -> None:
    """Make the test of ``cfg`` save pictures of predictions beside ground truth in ``folder``."""
    # Absolute, because mmdet's hook resolves a relative one against a folder of its own.
    folder = str(Path(folder).resolve())
    if cfg.get('default_scope') == 'mmseg':
        cfg.default_hooks.visualization = dict(
            type='mmseg.SegVisualizationHook', draw=True, interval=1
        )
        cfg.visualizer.save_dir = folder
    else:
        cfg.default_hooks.visualization = dict(
            type='mmdet.DetVisualizationHook', draw=True, test_out_dir=folder
        )
