"""A command with all that it starts ends when we do, whatever ends us."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from finkbridge.cli import group
from finkbridge.cli.group import run_group

FAMILY = """
import signal, subprocess, sys, time
if {deaf}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({file!r}, "w").write(f"{{grandchild.pid}}")
time.sleep(60)
"""
HEED = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL);"
"""Where the tests run by `nohup`, their processes would ignore it."""
RUN = "import sys; from finkbridge.cli.group import run_group; sys.exit(run_group(sys.argv[1:], {}))"


def family(file: Path, *, deaf: bool = False) -> list[str]:
    """Return a command that starts another one, tells its id, and ends neither by itself."""
    return [sys.executable, "-c", FAMILY.format(file=str(file), deaf=deaf)]


def both(file: Path) -> list[psutil.Process]:
    """Wait until a family is complete, and return its processes."""
    until = time.monotonic() + 20
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    grandchild = psutil.Process(int(file.read_text()))
    parent = grandchild.parent()
    assert parent is not None
    return [parent, grandchild]


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs a family, ``family.pid`` in the test's folder."""
    command = family(tmp_path / "family.pid", deaf=getattr(request, "param", False))
    with subprocess.Popen([sys.executable, "-c", HEED + RUN, *command]) as process:
        yield process
        process.kill()


def assert_all_over(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=5)
    for process in alive:
        process.kill()
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_us_ends_all_of_it(
    running: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    processes = both(tmp_path / "family.pid")
    running.send_signal(number)
    assert running.wait(10) == 128 + number
    assert_all_over(processes)


@pytest.mark.parametrize("running", [True], indirect=True)
def test_one_that_does_not_end_is_killed_by_the_second_signal(
    running: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    processes = both(tmp_path / "family.pid")
    running.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert running.poll() is None
    assert all(process.is_running() for process in processes)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 128 + signal.SIGTERM
    assert_all_over(processes)


def test_an_error_ends_all_of_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, found = tmp_path / "family.pid", []

    def fail(_: float) -> None:
        monkeypatch.undo()
        found.extend(both(file))
        raise OSError("no more time")

    monkeypatch.setattr(group.time, "sleep", fail)
    with pytest.raises(OSError, match="no more time"):
        run_group(family(file), {})
    assert_all_over(found)


def test_its_exit_code_and_environment(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in group.ENDING]
    code = "import os, sys; sys.exit(int(os.environ['CODE']))"
    assert run_group([sys.executable, "-c", code], {"CODE": "7"}) == 7
    assert [signal.getsignal(number) for number in group.ENDING] == before
