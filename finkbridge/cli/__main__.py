"""The installed program: ``finkbridge``, and ``python -m finkbridge.cli``."""

from __future__ import annotations

import gc
import sys

from finkbridge.cli.main import main
from finkbridge.later import never_load


def program() -> int:
    """Run the command line in a process of its own; return the exit code."""
    never_load("pandas")  # Arrow, DuckDB and DataFusion do if it is there, which takes 0.35 s each time
    code = main()
    gc.freeze()  # or Python looks, at its end, through all that Arrow and DuckDB made: 0.2 s and more
    return code


if __name__ == "__main__":
    sys.exit(program())
