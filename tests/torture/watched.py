"""``python -m tests.torture.watched`` is ``finkbridge``, but it and its workers tell when they fetch."""

from __future__ import annotations

import sys

from finkbridge import forking
from finkbridge.cli.main import main
from tests.torture import seam

if __name__ == "__main__":
    forking.PRELOADED.append(seam.__name__)  # workers are forked from where it is loaded
    sys.exit(main())
