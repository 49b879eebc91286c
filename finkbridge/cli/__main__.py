"""The installed program: ``finkbridge``, and ``python -m finkbridge.cli``."""

from __future__ import annotations

import sys

from finkbridge.cli.main import main
from finkbridge.later import never_load


def program() -> int:
    """Run the command line in a process of its own; return the exit code."""
    never_load("pandas")  # Arrow, DuckDB and DataFusion do if it is there, which takes 0.35 s each time
    return main()


if __name__ == "__main__":
    sys.exit(program())
