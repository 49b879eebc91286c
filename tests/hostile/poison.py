"""A checker with faults, for worker processes: it imports little, as each of them imports it anew."""

from __future__ import annotations

import ctypes
import io
import os
import signal
from collections.abc import Sequence
from typing import Any

import fastavro
import polars as pl

from finkbridge import layout, workers
from finkbridge.avro.check import Checker, Verdicts
from finkbridge.quarantine.send import SendTask, send
from finkbridge.workers import Task

check = Checker.check


def poisoned(self: Checker, datums: Sequence[bytes]) -> Verdicts:
    """Check datums as native code would that has a fault: it dies, or never gives Python's lock back."""
    for datum in datums:
        if b"KILL" in datum:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"EXIT" in datum:
            os._exit(0)
        if b"RAISE" in datum:
            raise RuntimeError("odd\nthing")
        if b"PANIC" in datum:
            panic()
        if b"HANG" in datum:
            ctypes.PyDLL(None).sleep(600)
    return check(self, datums)


def panic() -> None:
    """Make Rust panic: the Avro reader of polars knows no map."""
    fields = [{"name": "m", "type": {"type": "map", "values": "int"}}]
    stream = io.BytesIO()
    fastavro.writer(stream, {"type": "record", "name": "r", "fields": fields}, [{"m": {"a": 1}}])
    stream.seek(0)
    pl.read_avro(stream)


def run_poisoned(task: Task) -> Any:
    """Land a plan with a faulty checker; nothing but this function is sent to a worker."""
    Checker.check = poisoned  # type: ignore[method-assign]
    return workers.run_task(task)


def send_poisoned(task: SendTask) -> Any:
    """Land messages of the quarantine again with a faulty checker."""
    Checker.check = poisoned  # type: ignore[method-assign]
    return send(task)


def run_but_die_once(task: Task) -> Any:
    """Land a plan; the first worker that is asked to is killed instead, while it writes a file."""
    try:
        (task.lake / "died").touch(exist_ok=False)
    except FileExistsError:
        return workers.run_task(task)
    aside = task.lake / layout.scratch_path("half", ".avro")
    aside.parent.mkdir(exist_ok=True)
    aside.write_bytes(b"Obj")
    os.kill(os.getpid(), signal.SIGKILL)
    return None
