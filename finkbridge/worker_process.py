"""Loaded first by the server that worker processes are forked from, and by nothing else."""

import atexit
import gc
import os
import pickle
import sys
from types import TracebackType

from finkbridge.later import never_load

atexit.register(os._exit, 0)  # to take modules apart takes a quarter of a second; nobody reads its exit code
gc.disable()  # nothing that modules make while they load is garbage, and looking takes a fifth of the time
never_load("pandas")  # DataFusion and Arrow load it if it is there: 0.35 s that every drain would wait


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error at the start of a process, but not that the coordinator died while it asked for it."""
    if not isinstance(error, EOFError | pickle.UnpicklingError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
