"""Ending in order: what Ctrl-C and SIGTERM do to a command that works for long.

The first signal asks: what is under way is finished or given up, and what is done stays committed. A second
one, or too long a wait, ends at once: what is not committed is as if never fetched.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

PATIENCE_S = 8.0
"""From the first signal to an exception that unwinds whatever is under way."""
LAST_S = 9.0
"""From the first signal to the end of the process, whatever it is doing: a call into C may not return."""
AT_ONCE_S = 1.0
"""From a second signal to the end of the process."""

ASKING = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised in the main thread when a command that was told to stop must end now."""

    def __str__(self) -> str:
        return "the run was told to stop"


class Stop:
    """Whether, and by which signal, a command was told to stop."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None
        self.is_ending = False
        """Whether `Stopped` was raised, which a library may have made an error of its own of."""
        self._kept: tuple[socket.socket, ...] = ()

    @property
    def exit_code(self) -> int:
        """Exit code as shells give it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal or 0)

    def ask(self, number: int) -> None:
        """Take note of a signal, in the main thread."""
        if self.event.is_set():
            self.is_ending = True
            raise Stopped
        self._note(number)
        click.echo("finkbridge: ending in order; once more to end at once", err=True)

    def watch(self, wakeups: socket.socket) -> None:
        """Take note of signals in a thread of its own: the main one may be in a call that takes long."""
        asked = 0
        while data := wakeups.recv(16):
            for number in (n for n in data if n in ASKING):
                asked += 1
                _later(LAST_S if asked == 1 else AT_ONCE_S, self._die, number)
                if asked == 1:
                    _later(PATIENCE_S, _ask_again, number)

    def leave_to_watcher(self, *sockets: socket.socket) -> None:
        """Let the watcher alone handle what comes while the process ends."""
        self._kept = sockets
        for number in ASKING:
            signal.signal(number, lambda *_: None)

    def _note(self, number: int) -> None:
        self.signal = number
        self.event.set()

    def _die(self, number: int) -> None:
        if sys.stderr.isatty():
            os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
        os._exit(128 + number)


@contextmanager
def stopping_in_order() -> Iterator[Stop]:
    """Handle Ctrl-C and SIGTERM within the context; `Stopped` ends the context, not its caller.

    Once a signal came, the process ends within `LAST_S`, whatever follows the context.
    """
    stop, (ours, theirs) = Stop(), socket.socketpair()
    theirs.setblocking(False)
    watcher = threading.Thread(target=stop.watch, args=(ours,), daemon=True)
    watcher.start()
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda n, _: stop.ask(n)) for number in ASKING}
    try:
        yield stop
    except Stopped:
        pass
    except Exception:
        if not stop.is_ending:  # else DuckDB says that a query was interrupted, or that Arrow failed
            raise
    finally:
        if stop.signal is None:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            theirs.close()  # which ends the watcher
            watcher.join()
            ours.close()
        else:
            stop.leave_to_watcher(ours, theirs)


def _later(seconds: float, function: Callable[[int], None], number: int) -> None:
    timer = threading.Timer(seconds, function, [number])
    timer.daemon = True
    timer.start()


def _ask_again(number: int) -> None:
    """Do as a second signal does, and end what the main thread waits for."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)
