"""Names of this package's configs, ``mmdet_setdet::NAME.py``, resolved in a checkout or a wheel."""

from pathlib import Path

from .errors import InputError

PREFIX = 'mmdet_setdet::'


def config_folder() -> Path:
    """Return the folder of this package's configs: the checkout's, else the copy in a wheel.

    Raises:
        FileNotFoundError: Neither exists.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / 'configs', package / '.mim' / 'configs'):
        if (folder / '_base_').is_dir():
            return folder
    raise FileNotFoundError(
        f'mmdet_setdet in {package} has no configs: install it from a checkout or a wheel.'
    )


def named_config(name: str) -> str:
    """Return the path of one of this package's configs that is named without folder and ending; else the name itself.

    Args:
        name (str): ``'dn_detr_r50_50e'``, or a path.
    """
    if '/' in name or '.' in name or ':' in name:
        return name
    files = sorted(config_folder().rglob(f'{name}.py'))
    return str(files[0]) if files else name


def find_config(name: str, filename: str) -> str:
    """Return the path of a config that is named ``mmdet_setdet::NAME.py``.

    Args:
        name (str): The name.
        filename (str): The config file that mentions it, for the message.

    Raises:
        InputError: There is no such config.
    """
    path = config_folder() / name.removeprefix(PREFIX)
    if not path.is_file():
        raise InputError(
            f'{filename}: mmdet_setdet has no config {path.name}; look in {config_folder()}.'
        )
    return str(path)
