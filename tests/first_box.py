"""Time from the start of the import to the first boxes, where only the extra ``runtime`` is installed.

``make test-runtime MODEL=model.onnx IMAGE=photo.jpg`` makes such an environment and runs it.
"""

import sys
import time
from importlib.util import find_spec


def main(model: str, image: str) -> None:
    there = [name for name in ('torch', 'mmengine', 'mmcv', 'mmdet') if find_spec(name)]
    if there:
        sys.exit(f'error: {", ".join(there)} can be imported here; the figure would say nothing')
    start = time.perf_counter()
    from mmdet_setdet.runtime import Detector

    found = Detector(model)(image, score=0.3)
    seconds = time.perf_counter() - start
    print(f'{len(found)} boxes, {seconds:.2f} s after the start of the import')


if __name__ == '__main__':
    main(*sys.argv[1:])
