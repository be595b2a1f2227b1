"""Image classification data in ImageNet's layout: one folder of images a class."""
import os
from pathlib import Path

from mmengine.dataset import BaseDataset

from ..errors import InputError
from ..registry import DATASETS

EXTENSIONS = ('.jpeg', '.jpg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Images sorted into folders by class, ``data_root/train/CLASS/*.JPEG``, numbered as torchvision numbers them.

    Classes are the folders in the order of their names, images of a class the files below its folder in theirs. With
    ``metainfo=dict(classes=(...))`` the classes are the named folders in the order given, all others are left out.

    Args:
        data_root (str): Folder of the data set.
        data_prefix (dict): ``img_path`` is the folder with the class folders, below ``data_root``.
        **kwargs: As for mmengine's ``BaseDataset``: ``pipeline``, ``metainfo``, ``indices``, ``test_mode``, ...

    Raises:
        InputError: A folder is missing, holds no class folders, or a class has no image.
    """

    def __init__(self, data_root: str, data_prefix: dict, **kwargs) -> None:
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One ``dict(img_path=..., gt_label=...)`` an image."""
        folder = Path(self.data_prefix['img_path'])
        if not folder.is_dir():
            raise InputError(f'{folder}: no such folder of images; set data_root (for the configs of ImageNet the '
                             'environment variable SETDET_IMAGENET) or data_prefix')
        found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        if not found:
            raise InputError(f'{folder}: holds no folders of classes; its images must be sorted into {folder}/CLASS/')
        classes = tuple(self._metainfo.get('classes', found))
        absent = [name for name in classes if name not in found]
        if absent:
            raise InputError(f'{folder}: has no folder for {len(absent)} of the {len(classes)} classes of the config: '
                             f'{", ".join(absent[:5])}. It has: {", ".join(found[:5])}{", ..." * (len(found) > 5)}')
        self._metainfo['classes'] = classes
        return [dict(img_path=path, gt_label=label)
                for label, name in enumerate(classes) for path in _images(folder / name)]


def _images(folder: Path) -> list[str]:
    paths = [os.path.join(place, name) for place, _, names in sorted(os.walk(folder, followlinks=True))
             for name in sorted(names) if name.lower().endswith(EXTENSIONS)]
    if not paths:
        raise InputError(f'{folder}: this class has no image (files that end in {", ".join(EXTENSIONS)}); put images '
                         'there, delete the folder, or name the classes to take by metainfo=dict(classes=(...))')
    return paths
