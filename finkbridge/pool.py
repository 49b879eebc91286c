"""Worker processes, each with a pipe of its own: one that dies costs its own call, and nobody waits for it.

Python's `ProcessPoolExecutor` has one pipe for all results. A worker that is killed while it sends one leaves
half a message there, whose rest is waited for for ever, as the other workers keep the pipe open.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from finkbridge import panics

T = TypeVar("T")

_Call = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


class _Worker:
    """One process, and the coordinator's end of its pipe.

    Raises
    ------
    OSError, EOFError
        The system gives no process, or its server has ended.
    """

    def __init__(self, context: ForkServerContext, prepare: Callable[[], None]) -> None:
        self._calls, theirs = context.Pipe()
        with theirs:  # only the process has that end now, so that its own end closes the pipe
            self._process = context.Process(target=_work, args=(theirs, prepare), daemon=True)
            try:
                self._process.start()
            except BaseException:
                self._calls.close()
                raise

    def make(self, call: bytes) -> tuple[Any, Exception | None]:
        """Have a call made, and return its result, or its error; raise OSError or EOFError where it dies."""
        self._calls.send_bytes(call)
        answer: tuple[Any, Exception | None] = ForkingPickler.loads(self._calls.recv_bytes())
        return answer

    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()  # which does nothing where the server of processes has died
        with suppress(OSError), socket.socket(fileno=os.dup(self._calls.fileno())) as calls:
            calls.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back what an ended process leaves."""
        self._process.join()
        self._process.close()
        self._calls.close()


class ProcessExecutor(Executor):
    """Makes calls in several processes. A future raises BrokenProcessPool where its process died.

    Parameters
    ----------
    count
        Number of processes.
    context
        Gives what they come from, also where that has died since.
    prepare
        Called first in each of them.
    """

    def __init__(
        self, count: int, context: Callable[[], ForkServerContext], prepare: Callable[[], None]
    ) -> None:
        context()  # it begins to load what the processes need
        self._count = count
        self._context = context
        self._prepare = prepare
        self._threads = ThreadPoolExecutor(count, "worker")
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._is_stopped = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have a call made as soon as a process is free, and return its future.

        Raises
        ------
        OSError, EOFError
            No process can be started.
        """
        with self._lock:
            if self._is_stopped:
                raise BrokenProcessPool("the workers were ended")
            while len(self._workers) < self._count:
                self._idle.append(self._start())
        return self._threads.submit(self._make, (fn, args, kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:  # noqa: ARG002
        """End all processes now, whatever they are doing; calls that wait are not made."""
        with self._lock:
            self._is_stopped = True
            workers, self._workers = self._workers, set()  # each is closed once
        self._threads.shutdown(wait=False, cancel_futures=True)  # before a thread takes one
        for worker in workers:
            worker.kill()
        self._threads.shutdown(wait=True)
        for worker in workers:
            worker.close()

    def _start(self) -> _Worker:
        worker = _Worker(self._context(), self._prepare)
        self._workers.add(worker)
        return worker

    def _make(self, call: _Call) -> Any:
        data = bytes(ForkingPickler.dumps(call))
        worker = self._take()
        try:
            result, error = worker.make(data)
        except BaseException as reason:  # it died, or what it said cannot be read
            self._discard(worker)
            raise BrokenProcessPool("a worker process died") from reason
        with self._lock:
            self._idle.append(worker)
        if error is not None:
            raise error
        return result

    def _take(self) -> _Worker:
        """Return an idle process, or a new one: there are as many threads as processes are to be."""
        with self._lock:
            if self._is_stopped:
                raise BrokenProcessPool("the workers were ended")
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                self._workers.discard(worker)
                worker.close()
            try:
                return self._start()
            except (OSError, EOFError) as refusal:
                raise BrokenProcessPool("no worker process can be started") from refusal

    def _discard(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            if self._is_stopped:
                return  # who stopped them closes them
            self._workers.discard(worker)
        worker.close()


def _work(calls: Connection, prepare: Callable[[], None]) -> None:
    """Make calls until there are no more: what a worker process does."""
    prepare()
    threading.Thread(target=_die_when_left, args=(calls.fileno(),), daemon=True).start()
    with suppress(EOFError, OSError):  # the coordinator is gone, or wants no more
        while True:
            call = calls.recv_bytes()
            calls.send_bytes(_answer(call))


def _die_when_left(pipe: int) -> None:
    """End this process when the other end of its pipe is closed, though it is in the middle of a call."""
    poll = select.poll()
    poll.register(pipe, 0)  # of what always tells: that it was hung up
    poll.poll()
    os._exit(1)


def _answer(call: bytes) -> bytes:
    try:
        function, args, kwargs = ForkingPickler.loads(call)
        return bytes(ForkingPickler.dumps((panics.call(function, *args, **kwargs), None)))
    except Exception as error:  # noqa: BLE001 - it is the caller's
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return _told(error)


def _told(error: Exception) -> bytes:
    """Return an error as what can be sent, in words where it cannot be as it is."""
    try:
        data = bytes(ForkingPickler.dumps((None, error)))
        ForkingPickler.loads(data)
    except Exception:  # noqa: BLE001 - whatever an exception of others does when it is copied
        return bytes(ForkingPickler.dumps((None, RuntimeError(f"{type(error).__name__}: {error}"))))
    return data
