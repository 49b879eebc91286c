"""Signals that wait while something is done that is not to be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Self

DEFERRED = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], Any]


class Deferral:
    """A context in whose block no handler of Python's runs, and at whose end those that were due do.

    Their signals come in the main thread alone: in another one it does nothing. What blocks in native code
    delays them, so it is for short waits.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._came: list[tuple[int, FrameType | None]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            try:
                self._take()
            except BaseException:  # of a handler that was not replaced yet
                self._end()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        handlers = self._handlers.copy()
        try:
            self._give_back()
        finally:
            self._deliver(handlers)

    def _take(self) -> None:
        for number in DEFERRED:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._note)

    def _give_back(self) -> None:
        """Set the handlers again, SIGINT's last.

        To set one lets another one run first whose signal is due, and if it raises, nothing is set.
        """
        try:
            while self._handlers:
                number = next(reversed(self._handlers))
                signal.signal(number, self._handlers[number])
                del self._handlers[number]
        except BaseException:
            self._give_back()
            raise

    def _deliver(self, handlers: Mapping[int, Handler]) -> None:
        """Call the handlers of what came, each, whatever another one raises."""
        if self._came:
            number, frame = self._came.pop(0)
            try:
                handlers[number](number, frame)
            finally:
                self._deliver(handlers)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append((number, frame))
