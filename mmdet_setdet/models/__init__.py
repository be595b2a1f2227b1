from .assignment import *  # noqa: F401,F403
from .backbones import *  # noqa: F401,F403
from .dense_heads import *  # noqa: F401,F403
from .detectors import *  # noqa: F401,F403
from .test_time import ScaleRangeTTA, soft_vote  # noqa: F401
