"""Panics of native code that is written in Rust, told as errors.

Python gets a panic as an exception of its own, which is no `Exception` (so that nobody takes it for one) and
which no other process can be told (it cannot be pickled). It harms nothing but the work that met it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from finkbridge.errors import DecodeError
from finkbridge.text import storable

T = TypeVar("T")

RUNTIME = "pyo3_runtime"
"""The module of a panic's class, which cannot be imported."""
SAID_CHARACTERS = 300


@contextmanager
def telling_panics() -> Iterator[None]:
    """Turn a panic into an error.

    Raises
    ------
    DecodeError
        Native code panicked.
    """
    try:
        yield
    except BaseException as panic:
        if type(panic).__module__ != RUNTIME:
            raise
        said = storable(str(panic).strip(), SAID_CHARACTERS) or "no more is known"
        raise DecodeError(f"native code panicked: {said}") from None


def call(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Make a call in whatever process, such that what it meets can be told to any other."""
    with telling_panics():
        return function(*args, **kwargs)
