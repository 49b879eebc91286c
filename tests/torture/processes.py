"""Processes to be killed, and how."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

FORK_SERVER = "multiprocessing.forkserver"


def kill(pid: int) -> None:
    """Kill a process at once; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def fork_server(pid: int) -> psutil.Process | None:
    """Return the server that a coordinator's workers come from."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            if FORK_SERVER in " ".join(child.cmdline()):
                return child
    return None


def workers(pid: int) -> list[psutil.Process]:
    """Return a coordinator's workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = fork_server(pid)
        return server.children() if server else []
    return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def leftovers(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Return the processes that still run after a while, at most."""
    until = time.monotonic() + within_s
    while left := [p for p in processes if alive(p)]:
        if time.monotonic() > until:
            return left
        time.sleep(0.05)
    return []


def pss_bytes(pid: int) -> int:
    """Return the memory of a process and all below it, shared pages counted once."""
    return _pss_bytes(family(pid))


def lasting_pss_bytes(pid: int) -> int:
    """Return the same without its workers, whose memory ends with them."""
    passing = {process.pid for process in workers(pid)}
    return _pss_bytes(process for process in family(pid) if process.pid not in passing)


def _pss_bytes(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(OSError, IndexError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
    return total
