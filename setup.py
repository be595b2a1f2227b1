"""Fills ``mmdet_setdet/.mim``; all else that setuptools must know stands in pyproject.toml.

mmengine and mim look there for the configs, the tools and the model index: copies in a wheel, links into the checkout
for an editable install.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = ('configs', 'tools', 'model-index.yml')
# For a checkout: comparing with other code bases, releasing, and setting up.
LEFT_OUT = ('__pycache__', 'benchmarks', 'release', 'setup')


class BuildWithConfigs(build_py):
    """``build_py`` that fills ``mmdet_setdet/.mim``."""

    def run(self) -> None:
        super().run()
        target = ROOT if self.editable_mode else Path(self.build_lib)
        mim = target / 'mmdet_setdet' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in CARRIED:
            if self.editable_mode:
                (mim / name).symlink_to(Path('..', '..', name))
            elif (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, mim / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
            else:
                shutil.copy2(ROOT / name, mim / name)


setup(cmdclass={'build_py': BuildWithConfigs})
