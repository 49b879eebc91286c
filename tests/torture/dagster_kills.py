"""Kill the runs of Dagster, and its daemon, and see whether it gets on by itself and the lake is exact.

    python -m tests.torture.dagster_kills --kills 12 --seed 7 [--json]

A real ``dagster dev`` with the schedule at every minute, and runs launched beside it. Each fourth kill is the
daemon's: ``dagster dev`` is then started again, as after a crash of the machine. In between nothing is done
by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import psutil

from tests.support.dagster_dev import Dev, dagster_dev
from tests.torture import processes, results
from tests.torture.kills import Outcome, judge
from tests.torture.world import Lake, World, lakes, torture_world

RATE = 10.0
"""Messages a second."""
APPEARS_WITHIN_S = 240.0
"""Longest that Dagster may take to start the next run: it frees a killed run's place when it looks."""
DAEMON_EVERY = 4
RUNS = "{ runsOrError(limit: 200) { ... on Runs { results { id status } } } }"
RUN_PROCESS = "multiprocessing.spawn"


class Runs:
    """Kills what Dagster has started."""

    def __init__(self, lake: Lake, seed: int) -> None:
        self.lake = lake
        self.home = lake.folder / "dagster_home"
        self.home.mkdir()
        self.kills: Counter[str] = Counter()
        self.recoveries_s: list[float] = []
        """From a kill until a run has succeeded."""
        self._rng = random.Random(seed)
        self._known: set[int] = set()
        self.environ = lake.environ | {
            "FINKBRIDGE_SCHEDULE__CRON": "* * * * *",
            "FINKBRIDGE_WORKERS": "0",
            "PYTHONWARNINGS": "default",
        }

    def kill(self, times: int) -> None:
        """Go on until so many are killed, then wait for a run that succeeds."""
        while self.kills.total() < times:
            with dagster_dev(self.home, self.environ) as dev:
                while self.kills.total() < times and not self._is_daemons_turn():
                    self._kill_run(dev)
                if self.kills.total() < times:
                    self._kill_daemon(dev)
        with dagster_dev(self.home, self.environ) as dev:
            self._await_success(dev, time.monotonic())

    def _is_daemons_turn(self) -> bool:
        return self.kills.total() % DAEMON_EVERY == DAEMON_EVERY - 1

    def _kill_run(self, dev: Dev) -> None:
        dev.launch("drain", {})
        run = self._await_run(dev)
        time.sleep(self._rng.uniform(0, 8))
        if processes.alive(run):
            processes.kill(run.pid)
            self.kills["run's process"] += 1
            self._await_success(dev, time.monotonic())

    def _kill_daemon(self, dev: Dev) -> None:
        dev.launch("drain", {})
        self._await_run(dev)
        time.sleep(self._rng.uniform(0, 4))
        everyone = processes.family(dev.process.pid)
        for process in everyone:
            if "_daemon" in _command(process):
                processes.kill(process.pid)
                self.kills["daemon"] += 1
        os.killpg(dev.process.pid, signal.SIGKILL)
        for process in everyone:  # those that have a session of their own
            processes.kill(process.pid)

    def _await_run(self, dev: Dev) -> psutil.Process:
        """Wait for the process of a run that was not known."""
        until = time.monotonic() + APPEARS_WITHIN_S
        while time.monotonic() < until:
            for process in processes.family(dev.process.pid):
                if process.pid not in self._known and RUN_PROCESS in _command(process):
                    self._known.add(process.pid)
                    return process
            time.sleep(0.05)
        raise AssertionError(f"Dagster started no run in {APPEARS_WITHIN_S:.0f} s")

    def _await_success(self, dev: Dev, since: float) -> None:
        before = successes(dev)
        until = since + APPEARS_WITHIN_S
        while successes(dev) <= before:
            assert time.monotonic() < until, f"no run succeeded in {APPEARS_WITHIN_S:.0f} s"
            time.sleep(0.5)
        self.recoveries_s.append(time.monotonic() - since)


def successes(dev: Dev) -> int:
    """Return the number of runs that succeeded."""
    return sum(run["status"] == "SUCCESS" for run in dev.ask(RUNS)["runsOrError"]["results"])


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def summary(runs: Runs, outcome: Outcome) -> dict[str, Any]:
    """Return all that is to be known."""
    return {
        "kills": runs.kills.total(),
        "by_kind": dict(runs.kills),
        "recovery_s": results.distribution(runs.recoveries_s),
        **asdict(outcome),
        "exact": outcome.is_exact,
    }


def torture(world: World, kills: int) -> dict[str, Any]:
    """Kill so many times; return all that is to be known of it."""
    with lakes(world, 1) as (lake,):
        runs = Runs(lake, world.seed)
        with world.producing(RATE):
            runs.kill(kills)
        found = summary(runs, judge(world, lake)) | {"seed": world.seed}
        assert found["exact"], found
    return found


def main() -> None:
    """Run it, print the table and one line of JSON, and keep the latter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    given = parser.parse_args()
    with torture_world(given.seed) as world:
        found = torture(world, given.kills)
    if not given.json:
        results.show("kill -9, Dagster", found["by_kind"], found)
    print(json.dumps(found))
    results.save("dagster-kills", found)
    sys.exit(0 if found["exact"] else 1)


if __name__ == "__main__":
    main()
