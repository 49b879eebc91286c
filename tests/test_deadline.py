"""The time limit, beside others who use signals and timers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from finkbridge.deadline import deadline

HANG = "import ctypes; ctypes.PyDLL(None).sleep(60)"
SLOW = "while True: pass"


def run(code: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Do something within a limit of half a second, in the midst of a command."""
    lines = [
        "from finkbridge.cli import stopping",
        "from finkbridge.deadline import deadline",
        before,
        "with stopping.stopping_in_order() as stop:",
        "    with deadline(0.5, 'decoding'):",
        f"        {code}",
        "sys.exit(stop.exit_code)",
    ]
    text = "\n".join(["import os, signal, sys, time", *lines])
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize("code", [HANG, SLOW])
def test_command_ends_by_its_time_limit_whatever_it_does(code: str) -> None:
    done = run(code)
    assert done.returncode == -signal.SIGALRM
    assert "ending in order" not in done.stderr


def test_time_limit_leaves_the_patience_after_a_signal_alone() -> None:
    patience = "stopping.PATIENCE_S, stopping.LAST_S = 1.0, 30.0"
    ask = "os.kill(os.getpid(), signal.SIGTERM)"
    began = time.monotonic()
    done = run(f"{ask}\n    time.sleep(40)", patience)
    assert done.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 30
    assert "Traceback" not in done.stderr


def test_timer_and_handler_of_the_caller_are_as_before() -> None:
    before, rest = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with deadline(100, "nothing"):
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        assert 99 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == pytest.approx(rest, abs=5)
