"""Tried with a wheel in an environment of its own: commands, configs, runtime, and with ``--stack`` a model."""

import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np

CONFIG = 'dn_detr_r18_shapes'


def main() -> None:
    """Fail where something of the installed package does not work."""
    import mmdet_setdet
    from mmdet_setdet.config_names import named_config
    from mmdet_setdet.errors import InputError
    from mmdet_setdet.runtime import Detector

    folder = Path(mmdet_setdet.__file__).parent
    assert folder.is_relative_to(sys.prefix), f'{folder} is not of this environment'
    assert mmdet_setdet.__version__ == version('mmdet-setdet')
    assert Path(named_config(CONFIG)).is_relative_to(folder / '.mim')
    for words in (['--help'], ['predict', '--help'], ['serve', '--help']):
        command = [Path(sys.executable).with_name('setdet'), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with suppress(InputError):  # there is no such file
        Detector('missing.onnx')
    if '--stack' in sys.argv:
        from mmdet_setdet import SetDetector

        found = SetDetector.from_config(CONFIG).predict(np.zeros((64, 64, 3), np.uint8))
        assert found.classes
    else:
        assert 'torch' not in sys.modules
    print(f'mmdet_setdet {mmdet_setdet.__version__} works in {sys.prefix}')


if __name__ == '__main__':
    main()
