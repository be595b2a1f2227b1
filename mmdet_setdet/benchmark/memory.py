"""Row "memory": what a training step of DN-DETR needs at its peak, on top of weights and the optimizer's state."""
from collections.abc import Iterator

from .models import random_batch
from .options import Options
from .timing import Case, max_abs_diff
from .train_step import OBJECTS, DNDETRSides


def cases(options: Options) -> Iterator[Case]:
    """At 480x640 and at 800x1066, or at the size asked for."""
    batch_size = options.batch_size or 2
    for size in [options.size] if options.size else [(480, 640), (800, 1066)]:
        sides = DNDETRSides(options)
        batch = random_batch(options, size, [OBJECTS] * batch_size)
        yield Case(f'DN-DETR R50, {batch_size} x {size[0]}x{size[1]}', sides.ours(batch),
                   [sides.mmdets(batch), *sides.authors(batch)], max_abs_diff, timed=False, memory=True)
