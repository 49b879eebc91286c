"""Those who land plans: this process, or worker processes of which some may die.

A call whose process died is made again in a process of its own, whose end is then told exactly.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from finkbridge import panics
from finkbridge.errors import WorkerError
from finkbridge.forking import context
from finkbridge.workers import cannot_start, open_executor, prepare_worker, stop_executor

T = TypeVar("T")

START_S = 300.0
"""How long a process may take to start: a second, and much longer on a machine that swaps."""


class WorkerDiedError(Exception):
    """A process that did nothing but one call ended before it returned."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code

    @property
    def is_timeout(self) -> bool:
        """Whether the kernel ended it by its deadline."""
        return self.exit_code == -signal.SIGALRM

    def __str__(self) -> str:
        if self.exit_code is not None and self.exit_code < 0:
            return f"was killed by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"


class Workforce:
    """Where plans are landed: in this process, or in several, which are made anew when one of them dies."""

    def __init__(self, count: int) -> None:
        self.count = count
        """0: the work is done in this process."""
        self._pool = open_executor(count)
        self._alone: ThreadPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._is_closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a call where there is room; raise WorkerError where no process can be started."""
        try:
            return self._pool.submit(fn, *args)
        except (OSError, EOFError) as refusal:
            raise cannot_start(refusal) from None

    def submit_alone(self, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a call in a new process that does nothing else, one after the other.

        The future raises WorkerDiedError when the process dies, and WorkerError when none can be started.
        """
        if self._alone is None:
            self._alone = ThreadPoolExecutor(1, "alone")
        return self._alone.submit(self._call_alone, fn, *args)

    def close(self) -> None:
        """End all processes now, whatever they are doing: nothing that they left is committed."""
        stop_executor(self._pool)
        self._is_closed = True
        if self._alone is not None:
            self._alone.shutdown(wait=False, cancel_futures=True)
            if self._process is not None:
                self._process.kill()
            self._alone.shutdown()

    def _call_alone(self, fn: Callable[..., T], /, *args: Any) -> T:
        try:
            receiver, sender = context().Pipe(duplex=False)
            process = context().Process(target=_serve, args=(sender, fn, args), daemon=True)
            process.start()
            self._process = process
            if self._is_closed:  # which looked before there was a process to end
                process.kill()
        except (OSError, EOFError) as refusal:
            raise cannot_start(refusal) from None
        sender.close()
        with receiver:
            is_ready = receiver.poll(START_S) and _receive(receiver) is not None
            received = _receive(receiver) if is_ready else None
        if received is None:
            process.kill()  # where it has not died
        process.join()
        if not is_ready:
            raise WorkerError(
                f"no worker process can be started (one {WorkerDiedError(process.exitcode)}): run again"
            )
        if received is None:
            raise WorkerDiedError(process.exitcode)
        result, error = received
        if error is not None:
            raise error
        return cast("T", result)


def _receive(receiver: Connection) -> Any:
    """Return what the other process sends; None when it dies first."""
    try:
        return receiver.recv()
    except Exception:  # noqa: BLE001 - it is gone, or sent an error that cannot be made again here
        return None


def _serve(sender: Connection, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Make one call in this process and send what comes of it."""
    prepare_worker()
    sender.send(True)
    try:
        sender.send((panics.call(fn, *args), None))
    except Exception as error:  # noqa: BLE001 - it is the caller's
        sender.send((None, error))
