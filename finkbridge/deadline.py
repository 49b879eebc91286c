"""A time limit that holds even where native code never returns, as the kernel ends the process.

Python cannot interrupt what does not come back to it. A worker that is ended so costs its plan a second
try; a process that works for itself (`workers = 0`, small drains) ends, and the next run takes the plan
elsewhere.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

TELL_BEFORE_S = 0.2
"""How long before its end a process that is no worker says why: enough to write a line."""


@contextmanager
def deadline(seconds: float, doing: str) -> Iterator[None]:
    """End this process by SIGALRM if the block takes longer.

    The signal belongs to the block: a handler of Python's would wait for the native code that hangs. A timer
    and a handler that are set already rest meanwhile.

    Parameters
    ----------
    seconds
        Of wall clock; the time within `untimed` does not count.
    doing
        What is being done, for the line that a process which is no worker writes.
    """
    before, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = _handle(signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    teller = threading.Timer(max(0.0, seconds - TELL_BEFORE_S), _tell, (seconds, doing))
    teller.daemon = True
    if multiprocessing.parent_process() is None:
        teller.start()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        teller.cancel()
        _handle(handler)
        signal.setitimer(signal.ITIMER_REAL, before)


@contextmanager
def untimed() -> Iterator[None]:
    """Stop the clock for work that has a time limit of its own, such as asking a broker."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


def _tell(seconds: float, doing: str) -> None:
    if signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        print(
            f"finkbridge: {doing} takes longer than {seconds:.0f} s: this run ends, and the next one finds "
            "the message that does it",
            file=sys.stderr,
            flush=True,
        )


def _handle(handler: Handler) -> Handler:
    """Set who handles the signal, and return who did; another thread than the main one may not set it."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        return handler
    return signal.signal(signal.SIGALRM, handler)
