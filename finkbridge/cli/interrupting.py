"""Ctrl-C that Python's own handler does not see through: while a call into C lasts, or inside its errors."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 2.0
"""From the first Ctrl-C to the end of the process, where the call heeds no interrupt."""

_came = threading.Event()
"""Set by Ctrl-C, where `noting_interrupts` notes it."""


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C end what runs in the context: by `interrupt`, from another thread, or with the process.

    The process ends, with exit code 130, at the second Ctrl-C, or if the call goes on for `GRACE_S`.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(ours, interrupt), daemon=True)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()  # which ends the watcher
        watcher.join()
        ours.close()


def _watch(wakeups: socket.socket, interrupt: Callable[[], None]) -> None:
    asked = 0
    ending = threading.Timer(GRACE_S, _end)
    ending.daemon = True
    while data := wakeups.recv(16):
        for _ in range(data.count(signal.SIGINT)):
            asked += 1
            if asked > 1:
                _end()
            interrupt()
            ending.start()
    ending.cancel()


def _end() -> None:
    os._exit(128 + signal.SIGINT)


def heed_interrupt() -> None:
    """Raise KeyboardInterrupt if Ctrl-C came before: a library may have dropped what it raised there."""
    if _came.is_set():
        raise KeyboardInterrupt


def log_no_interrupts() -> None:
    """Let no library log Ctrl-C with a traceback: SQLAlchemy does where it meets the closing of a connection.

    It raises it, too, so nothing is lost. The same goes for whatever else is raised to end a command.
    """
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_is_no_interrupt)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    return raised is None or isinstance(raised, Exception)


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """Remember Ctrl-C in the context: a library may give ``KeyboardInterrupt`` back as an error of its own.

    DuckDB does while it reads an Arrow table, for one. A handler that is not Python's own stays as it is.

    Yields
    ------
    Callable
        Says if Ctrl-C came.
    """
    _came.clear()

    def note(number: int, frame: FrameType | None) -> None:
        _came.set()
        signal.default_int_handler(number, frame)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield _came.is_set
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
