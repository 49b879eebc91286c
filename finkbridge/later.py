"""The one place where a module is loaded when it is needed, not when its user is.

Arrow, DuckDB, DataFusion, polars and numba take a second to load and 200 MB. A run that finds nothing new,
and the process that only coordinates workers, do without.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def get(name: str) -> Any:
    """Return what ``module:attribute`` names."""
    module, _, attribute = name.partition(":")
    return getattr(load(module), attribute)


def load(name: str) -> ModuleType:
    """Return a module, loaded if it is not yet.

    Nothing that modules make while they load is garbage, and to look for it takes a sixth of that time.
    """
    if name in sys.modules:
        return importlib.import_module(name)  # waits for a thread that is still loading it
    with _no_looking_for_garbage():
        return importlib.import_module(name)


@contextmanager
def _no_looking_for_garbage() -> Iterator[None]:
    was_looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_looking:
            gc.enable()


def call(function: str, *args: Any, **options: Any) -> Any:
    """Call the function that ``module:function`` names, and return what it returns."""
    return get(function)(*args, **options)


def never_load(module: str) -> None:
    """Let whoever tries to import a module in this process find that it cannot be had.

    For a process that is ours alone and does not need it, while some library loads it wherever it is there.
    """
    sys.meta_path.insert(0, _Refusal(module))


class _Refusal(MetaPathFinder, Loader):
    """Finds one module, and does not load it: whoever only looks if it is there is not troubled."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        return ModuleSpec(fullname, self) if fullname == self._module else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        raise ModuleNotFoundError(f"{spec.name} is not loaded in a process of finkbridge", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        raise NotImplementedError  # nothing is ever made that could be run
