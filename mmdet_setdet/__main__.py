"""``python -m mmdet_setdet`` is ``setdet``."""

from .commands import main

if __name__ == '__main__':
    main()
