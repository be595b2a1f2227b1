"""Image classification data in ImageNet's layout: one folder of images per class."""

import os
from pathlib import Path

from mmengine.dataset import BaseDataset

from ..errors import InputError
from ..registry import DATASETS

EXTENSIONS = ('.jpeg', '.jpg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images sorted into folders by class, ``data_root/train/CLASS/*.JPEG``, numbered as torchvision numbers them.

    The classes are the folders in alphabetical order; the images of a class are all files below its folder, also in
    alphabetical order. With ``metainfo=dict(classes=(...))`` the classes are the named folders in that order, and all
    others are left out.

    Args:
        data_root (str): Folder of the data set.
        data_prefix (dict): ``img_path`` is the folder that holds the class folders, relative to ``data_root``.
        **kwargs: Arguments of mmengine's ``BaseDataset``: ``pipeline``, ``metainfo``, ``indices``, ``test_mode``, ...

    Raises:
        InputError: A folder is missing or holds no class folders, or a class has no image.
    """

    def __init__(self, data_root: str, data_prefix: dict, **kwargs) -> None:
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one ``dict(img_path=..., gt_label=...)`` per image."""
        folder = Path(self.data_prefix['img_path'])
        classes = self._find_classes(folder)
        self._metainfo['classes'] = classes
        data_list = []
        for label, name in enumerate(classes):
            data_list += [
                dict(img_path=path, gt_label=label) for path in _image_paths(folder / name)
            ]
        return data_list

    def _find_classes(self, folder: Path) -> tuple[str, ...]:
        if not folder.is_dir():
            raise InputError(
                f'{folder}: no such folder of images; set data_root (for the configs of ImageNet the environment '
                'variable SETDET_IMAGENET) or data_prefix'
            )
        existing = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        if not existing:
            raise InputError(
                f'{folder}: holds no folders of classes; its images must be sorted into {folder}/CLASS/'
            )
        classes = tuple(self._metainfo.get('classes', existing))
        absent = [name for name in classes if name not in existing]
        if absent:
            more = ', ...' if len(existing) > 5 else ''
            raise InputError(
                f'{folder}: has no folder for {len(absent)} of the {len(classes)} classes of the config: '
                f'{", ".join(absent[:5])}. It has: {", ".join(existing[:5])}{more}'
            )
        return classes


def _image_paths(folder: Path) -> list[str]:
    paths = []
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        images = [name for name in sorted(names) if name.lower().endswith(EXTENSIONS)]
        paths += [os.path.join(place, name) for name in images]
    if not paths:
        raise InputError(
            f'{folder}: this class has no image (files that end in {", ".join(EXTENSIONS)}); put images there, delete '
            'the folder, or name the classes to use by metainfo=dict(classes=(...))'
        )
    return paths
