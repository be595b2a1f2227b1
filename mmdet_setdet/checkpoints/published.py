"""Checkpoints by the name ``FAMILY+FILE``, converted while they are loaded.

So ``load_from='detr+https://.../detr-r50-e632da11.pth'`` and the ``Weights`` in configs/metafile.yml, which mmdet's
``DetInferencer`` uses by default, can name what the authors publish. Weights that are published behind a web page, or
not at all, are an error that says how to proceed.
"""

from ..errors import InputError
from .convert import convert
from .families import FAMILIES

PREFIXES = rf'({"|".join(FAMILIES)})\+'  # a regular expression
UNPUBLISHED = 'unpublished'
FILE_ENDINGS = ('.pth', '.pt', '.bin', '.safetensors')


def load_converted(filename: str, map_location=None) -> dict:
    """Read and convert a checkpoint; the weights stay on the CPU, whatever ``map_location``.

    Raises:
        InputError: There is no file to download, or it does not convert.
    """
    family, _, source = filename.partition('+')
    if source == UNPUBLISHED:
        raise InputError(
            'nobody publishes weights of this model: train it (tools/train.py), then name your own, e.g. '
            'DetInferencer(NAME, weights=FILE)'
        )
    if source.startswith('http') and not source.endswith(FILE_ENDINGS):
        raise InputError(
            f'the authors publish the weights of this model by hand, at {source}: download the file, then '
            f'tools/convert_checkpoint.py FILE CONVERTED --from {family}, and name it, e.g. '
            'DetInferencer(NAME, weights=CONVERTED)'
        )
    checkpoint, _, _ = convert(source, family)
    return checkpoint
