"""What is installed, by metadata alone: nothing of it is imported, and nothing but Python is needed to ask."""

from importlib.metadata import PackageNotFoundError, distribution

STACK = (
    'torch',
    'mmengine',
    'onedl-mmengine',
    'mmcv',
    'mmcv-lite',
    'onedl-mmcv',
    'mmdet',
    'onedl-mmdetection',
)


def any_of_the_stack() -> bool:
    """Return whether torch or any part of OpenMMLab's stack is installed; without, only exported models can be run."""
    for name in STACK:
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        return True
    return False
