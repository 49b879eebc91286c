"""What a command and all processes that it starts cost: time, or CPU and peak memory from Linux's ``/proc``.

To look slows down what is looked at: the kernel walks all pages of a process to tell its memory, and the more
of them the more work. So what is timed is left alone, and another run is watched.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY_S = 0.1
FAMILY_EVERY = 5
"""Samples between two looks for new processes, which are small at first: the costliest part of a sample."""
WORTH_A_LOOK = 0.9
"""Share of the highest RSS so far from which on PSS is read too, which costs most."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class CommandFailedError(Exception):
    """A measured command did not succeed; the text is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a command took."""

    seconds: float
    watched: bool
    """Whether its processes were looked at; if not, the next five are 0."""
    cpu_s: float
    """User and system, of all its processes; what a process does after its last sample is missing."""
    pss_bytes: int
    """Peak of the sum over its processes of proportional set sizes: shared pages count once, and pages of
    libraries that other programs of the machine have open, too, only in part."""
    anonymous_bytes: int
    """Peak of the part of it that is of no file: what the processes have asked for."""
    rss_bytes: int
    """Peak of the sum of resident set sizes: shared pages count in each process."""
    processes: int
    """Most at one time."""
    load: float
    """Load average of the machine, one minute, when it began."""
    output: str


@dataclass
class _Watch:
    """Samples a process and its descendants until it is told to end."""

    root: int
    pss: int = 0
    anonymous: int = 0
    rss: int = 0
    processes: int = 0

    def __post_init__(self) -> None:
        self._cpu: dict[tuple[int, int], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> tuple[float, int, int, int, int]:
        """Stop, and return CPU seconds, PSS, anonymous memory, RSS, and the number of processes."""
        self._ended.set()
        self._thread.join()
        return sum(self._cpu.values()), self.pss, self.anonymous, self.rss, self.processes

    def _run(self) -> None:
        family: list[int] = []
        for number in itertools.count():
            family = family if number % FAMILY_EVERY else _family(self.root)
            self._sample(family)
            if self._ended.wait(SAMPLE_EVERY_S):
                return

    def _sample(self, family: Sequence[int]) -> None:
        for pid in family:
            with suppress(OSError, IndexError):
                start, cpu_s = _start_and_cpu(pid)
                self._cpu[pid, start] = cpu_s
        rss = sum(map(_rss_bytes, family))
        self.rss = max(self.rss, rss)
        self.processes = max(self.processes, len(family))
        if rss > WORTH_A_LOOK * self.rss:
            found = [_pss_and_anonymous_bytes(pid) for pid in family]
            self.pss = max(self.pss, sum(pss for pss, _ in found))
            self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in found))


def _users_environ() -> dict[str, str]:
    """Return our variables but the one that forbids Python to keep what it compiles: users have none such."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(
    command: Sequence[str],
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    *,
    watched: bool,
) -> Usage:
    """Run a command to its end and return what it took.

    Parameters
    ----------
    command
        Program and arguments.
    environ
        Variables over those of this process.
    folder
        Working folder.
    watched
        Look at what it takes, which slows it down.

    Raises
    ------
    CommandFailedError
        It ended with another code than 0.
    """
    load, begin = os.getloadavg()[0], time.monotonic()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_users_environ() | dict(environ or {}),
        cwd=folder,
        text=True,
        errors="replace",
    ) as process:
        watch = _Watch(process.pid) if watched else None
        output, _ = process.communicate()
        seconds = time.monotonic() - begin
        taken: tuple[float, int, int, int, int] = (0, 0, 0, 0, 0) if watch is None else watch.end()
    if process.returncode:
        raise CommandFailedError(f"{' '.join(command)} ended with {process.returncode}: {output[-3000:]}")
    return Usage(seconds, watched, *taken, load, output)


def _family(root: int) -> list[int]:
    """Return a process and all its descendants that are still linked to it."""
    family = [root]
    for pid in family:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                family += map(int, task.read_text().split())
    return family


def _start_and_cpu(pid: int) -> tuple[int, float]:
    """Return when a process began, in ticks of the machine's life, and its CPU seconds."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]), (int(after_name[11]) + int(after_name[12])) / _TICKS


def _pss_and_anonymous_bytes(pid: int) -> tuple[int, int]:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        return sizes["Pss"], sizes["Pss_Anon"]
    return 0, 0


def _rss_bytes(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0
