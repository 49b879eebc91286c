"""Ctrl-C and SIGTERM end ``finkbridge demo`` with all that it started, whenever they come."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from finkbridge.demo import MARK
from tests.support.command import Command, Running


def await_start(running: Running) -> list[psutil.Process]:
    """Wait until the demo's work begins, with its broker."""
    until = time.monotonic() + 20
    while not (running.out.parent / "demo" / MARK).exists():
        assert running.process.poll() is None, running.said()
        assert time.monotonic() < until
        time.sleep(0.005)
    return psutil.Process(running.process.pid).children(recursive=True)


def assert_over(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=6)
    assert alive == []


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5])
def test_ctrl_c_in_a_terminal_is_no_traceback(tmp_path: Path, after_s: float) -> None:
    with Command(tmp_path, "").start("demo") as running:
        await_start(running)
        time.sleep(after_s)
        family = psutil.Process(running.process.pid).children(recursive=True)
        began = time.monotonic()
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(10) == 130, running.said()
        assert time.monotonic() - began < 10
        assert_over(family)
    assert "Traceback" not in running.said()
    assert running.said().endswith("finkbridge: interrupted\n")


@pytest.mark.slow
def test_sigterm_ends_the_command_behind_which_alerts_arrive(tmp_path: Path) -> None:
    told = "import os, time; print('up', os.environ['FINKBRIDGE_CONFIG'], flush=True); time.sleep(60)"
    with Command(tmp_path, "").start("demo", "--behind", "--", sys.executable, "-c", told) as running:
        running.await_text(f"up {tmp_path}/demo/finkbridge.toml")
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert len(family) == 2, "the broker and the command"
        assert running.end(signal.SIGTERM) == 143
        assert_over(family)
