"""The one place where a module is loaded when it is needed, not when its user is.

Arrow, DuckDB, DataFusion and numba take a second to load and 200 MB. A run that finds nothing new, and the
process that only coordinates workers, do without.
"""

from __future__ import annotations

import importlib
from typing import Any


def call(function: str, *args: Any) -> Any:
    """Call a function, named ``module:function``, and return what it returns."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(*args)
