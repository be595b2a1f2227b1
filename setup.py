"""Builds the distribution mmdet-setdet.

The package carries the configs, the tools and the model index under ``mmdet_setdet/.mim``, where mmengine and mim look
for them: copies in a wheel, links into the checkout for an editable install.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CARRIED = ('configs', 'tools', 'model-index.yml')
LEFT_OUT = (
    '__pycache__',
    'benchmarks',
)  # the benchmark compares with other code bases: for developers, in a checkout


def requirements(name: str) -> list[str]:
    """The pins of ``requirements/NAME.txt``, which the set-up program installs too."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """Read, not imported: importing the package needs torch."""
    return re.search(
        r"__version__ = '(.+)'", (ROOT / 'mmdet_setdet' / 'version.py').read_text()
    ).group(1)


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


readme = ROOT / 'README.md'
setup(
    name='mmdet-setdet',
    version=version(),
    description='Set-prediction detectors for MMDetection 3.x: DETR, DN-DETR and relatives',
    long_description=readme.read_text() if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmdet_setdet', 'mmdet_setdet.*']),
    # torch, mmengine, mmcv and mmdet are the user's choice, checked at import: naming them here would let pip replace a
    # working CUDA or CPU build. The extras name the two stacks that are tested.
    package_data={'mmdet_setdet.serve': ['page/*', 'local/*']},
    entry_points={'console_scripts': ['setdet = mmdet_setdet.commands:main']},
    install_requires=['numpy', 'packaging', 'pycocotools', 'safetensors', 'scipy'],
    extras_require={
        'fork': requirements('default'),
        'upstream': requirements('upstream'),
        # Exporting models, and running exported ones without torch and the stack.
        'export': requirements('export'),
        # Evaluation in C++.
        'eval': requirements('eval'),
        'runtime': ['onnxruntime', 'pillow'],
        # For the configs of segmentation. Upstream's mmseg imports two packages that it does not ask for.
        'seg': requirements('default-seg'),
        'seg-upstream': [*requirements('upstream-seg'), 'ftfy', 'regex'],
    },
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
