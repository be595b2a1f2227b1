"""``FAMILY+FILE`` as the name of a checkpoint: it is converted while it is loaded.

So ``load_from='detr+https://.../detr-r50-e632da11.pth'`` and the ``Weights`` in configs/metafile.yml, which mmdet's
``DetInferencer`` takes where none are given, can name what the authors publish. What they publish behind a page to
click through, or not at all, becomes an error that says how to go on.
"""
from mmengine.runner import CheckpointLoader

from ..errors import InputError
from .convert import convert
from .families import FAMILIES

UNPUBLISHED = 'unpublished'
FILE_ENDINGS = ('.pth', '.pt', '.bin', '.safetensors')


@CheckpointLoader.register_scheme(prefixes=rf'({"|".join(FAMILIES)})\+')
def load_from_converted(filename: str, map_location=None) -> dict:
    """Reads and converts; the weights stay in the CPU's memory, whatever ``map_location``.

    Raises:
        InputError: There is no file to be had, or it does not convert.
    """
    family, _, source = filename.partition('+')
    if source == UNPUBLISHED:
        raise InputError('nobody publishes weights of this model: train it (tools/train.py), then name your own, e.g. '
                         'DetInferencer(NAME, weights=FILE)')
    if source.startswith('http') and not source.endswith(FILE_ENDINGS):
        raise InputError(f'the authors publish the weights of this model by hand, at {source}: download the file, then '
                         f'tools/convert_checkpoint.py FILE CONVERTED --from {family}, and name it, e.g. '
                         'DetInferencer(NAME, weights=CONVERTED)')
    return convert(source, family)[0]
