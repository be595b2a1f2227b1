"""Makes ``mmdet_setdet::NAME.py`` and the scope ``mmdet_setdet`` known to mmengine, from a checkout or a wheel."""
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed

from .compat import check_mmseg

PREFIX = 'mmdet_setdet::'


def config_folder() -> Path:
    """The folder of this package's configs: the checkout's, else the copy that a wheel carries.

    Raises:
        FileNotFoundError: Neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / 'configs', package / '.mim' / 'configs'):
        if (folder / '_base_').is_dir():
            return folder
    raise FileNotFoundError(f'mmdet_setdet in {package} has no configs: install it from a checkout or a wheel.')


def register_with_mmengine() -> None:
    """Let mmengine resolve this package's config names.

    mmengine knows a fixed list of packages, and its pattern for names wants a folder, which our flat configs have not.
    So names that start with ``mmdet_setdet::`` are resolved here; all others go on to mmengine, which is told that the
    fork's mmseg goes by another name than upstream's.
    """
    MODULE2PACKAGE.setdefault('mmdet_setdet', 'mmdet-setdet')
    if find_spec('mmseg') and not is_installed(MODULE2PACKAGE['mmseg']):
        MODULE2PACKAGE['mmseg'] = 'mmseg'
    resolve = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if not cfg_path.startswith(PREFIX):
            if cfg_path.startswith('mmseg::'):
                check_mmseg(filename)
            return resolve(cfg_path, filename)
        path = config_folder() / cfg_path[len(PREFIX):]
        if not path.is_file():
            raise FileNotFoundError(f'{filename}: mmdet_setdet has no config {path.name}; look in {config_folder()}.')
        # mmdet's scope, in which these configs are written: whatever mmdet has goes by its bare name.
        return str(path), 'mmdet'

    Config._get_cfg_path = staticmethod(get_cfg_path)
