"""Runs a command with all that it starts, and leaves nothing of it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import click

PATIENCE_S = 30.0
"""From SIGTERM to SIGKILL, unless a second signal comes: Dagster takes 15 s on two busy cores."""
LOOK_EVERY_S = 0.1

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_group(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command in a process group of its own, to its end or to ours.

    Ctrl-C, SIGTERM, a closed terminal and any error here end the command in order, and what it left of its
    group at once.

    Parameters
    ----------
    command
        Program and arguments.
    environ
        What is added to the environment.

    Returns
    -------
    int
        The command's exit code; 128 and the signal's number if a signal to this process ended it.
    """
    with _noted_signals() as noted:
        both = {**os.environ, **environ}
        child = subprocess.Popen(command, env=both, process_group=0)  # noqa: S603 - the user's own command
        try:
            while child.poll() is None and not noted:
                time.sleep(LOOK_EVERY_S)
            if noted:
                click.echo("finkbridge: ending in order; once more to end at once", err=True)
        finally:
            _end(child, noted)
    return 128 + noted[0] if noted else child.returncode


def _end(child: subprocess.Popen[bytes], noted: Sequence[int]) -> None:
    child.terminate()  # which does nothing to a process that is over
    asked, until = len(noted), time.monotonic() + PATIENCE_S
    while child.poll() is None and len(noted) == asked and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Note the signals that would end this process, instead of being interrupted anywhere by them."""
    noted: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    heeded = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}  # nohup stays so
    for number in heeded:
        signal.signal(number, lambda n, _: noted.append(n))
    try:
        yield noted
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
