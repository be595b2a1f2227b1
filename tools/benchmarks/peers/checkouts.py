"""Plain checkouts of the authors' code: folders named ``owner+name`` under ``$SETDET_REF``."""

import os
from pathlib import Path

OTA_FILE = 'playground/detection/coco/ota.res50.fpn.coco.800size.1x/fcos.py'
# code: (folder, file that it must contain)
CHECKOUTS = {
    'detr': ('facebookresearch+detr', 'main.py'),
    'dn-detr': ('IDEA-Research+DN-DETR', 'main.py'),
    'crossformer': ('cheerss+CrossFormer', 'models/crossformer.py'),
    'ota': ('Megvii-BaseDetection+OTA', OTA_FILE),
}


def find_checkout(code: str) -> Path | None:
    """Return the folder of a checkout, None where it is missing.

    Args:
        code (str): A key of ``CHECKOUTS``.
    """
    if 'SETDET_REF' not in os.environ:
        return None
    folder, file = CHECKOUTS[code]
    path = Path(os.environ['SETDET_REF'], folder)
    return path if (path / file).exists() else None
