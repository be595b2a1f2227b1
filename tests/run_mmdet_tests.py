"""Run mmdet's own tests of its DETRs and of the Hungarian assigner on our classes.

    python tests/run_mmdet_tests.py CHECKOUT [PYTEST_OPTION ...]

CHECKOUT is a checkout of mmdet 3, whose tests and configs are used with the mmdet that is installed. Some tests import
``parameterized``, which pip installs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
FILES = (
    'test_detectors/test_detr.py',
    'test_detectors/test_conditional_detr.py',
    'test_detectors/test_dab_detr.py',
    'test_detectors/test_deformable_detr.py',
    'test_detectors/test_dino.py',
    'test_detectors/test_ddq_detr.py',
    'test_dense_heads/test_ddq_detr_head.py',
    'test_detectors/test_maskformer.py',
    'test_task_modules/test_assigners/test_hungarian_assigner.py',
)


def main() -> int:
    """Return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkout', type=Path, help='a checkout of mmdet')
    arguments, options = parser.parse_known_args()
    files = [arguments.checkout.resolve() / 'tests/test_models' / name for name in FILES]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        sys.exit(
            f'error: {arguments.checkout} is not a checkout of mmdet 3: it has no {missing[0]}'
        )
    environment = dict(os.environ, PYTHONPATH=f'{TESTS}{os.pathsep}{TESTS.parent}')
    # Not `python -m pytest`, which would import the checkout's mmdet.
    pytest = Path(sys.executable).with_name('pytest')
    command = [
        str(pytest),
        '-c',
        os.devnull,
        '--rootdir',
        '.',
        '-p',
        'no:cacheprovider',
        '-p',
        'helpers.mmdet_types',
        *options,
        *map(str, files),
    ]
    return subprocess.run(command, cwd=arguments.checkout, env=environment, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
