"""Models and their parts.

Letters of shapes, the same in every docstring:

B   images of the batch                 S   tokens: cells of all feature maps of an image
L   decoder layers, or feature levels   C   channels of a token or query
Q   all queries of an image: N + M      K   classes
M   matching queries of an image        G   gts of an image, padded to the most in the batch
N   queries of a group                  P   matched pairs
"""

from .assignment import *  # noqa: F403
from .backbones import *  # noqa: F403
from .dense_heads import *  # noqa: F403
from .detectors import *  # noqa: F403
from .mask_heads import *  # noqa: F403
from .necks import *  # noqa: F403
from .queries import *  # noqa: F403
from .roi_heads import *  # noqa: F403
from .test_time_augs import *  # noqa: F403
