"""Compiles Python to machine code by numba, once per installation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for one signature, once per installation where its result can be kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(*signature, nogil=True, cache=True)(function)
        except RuntimeError:  # numba finds no folder that it may write to
            return numba.njit(*signature, nogil=True)(function)

    return decorate
