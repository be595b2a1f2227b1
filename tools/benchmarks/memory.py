"""Row "memory": peak memory of a training step of DN-DETR, on top of weights and optimizer state."""

from collections.abc import Iterator

from .models import random_batch
from .options import Options
from .timing import Case, max_abs_diff
from .train_step import NUM_GTS, DNDETRSides


def cases(options: Options) -> Iterator[Case]:
    """Yield a case at 480x640 and one at 800x1066, or one at the requested size."""
    batch_size = options.batch_size or 2
    sizes = [options.size] if options.size else [(480, 640), (800, 1066)]
    for height, width in sizes:
        sides = DNDETRSides(options)
        batch = random_batch(options, (height, width), [NUM_GTS] * batch_size)
        yield Case(
            f'DN-DETR R50, {batch_size} x {height}x{width}',
            ours=sides.ours(batch),
            peers=[sides.mmdets(batch), *sides.authors(batch)],
            compare=max_abs_diff,
            timed=False,
            memory=True,
        )
