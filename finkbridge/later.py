"""The one place where a module is loaded when it is needed, not when its user is.

Arrow, DuckDB, DataFusion, polars and numba take a second to load and 200 MB. A run that finds nothing new,
and the process that only coordinates workers, do without.
"""

from __future__ import annotations

import importlib
from typing import Any


def get(name: str) -> Any:
    """Return what ``module:attribute`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def call(function: str, *args: Any, **options: Any) -> Any:
    """Call the function that ``module:function`` names, and return what it returns."""
    return get(function)(*args, **options)
