"""Follow topics for long, with a broker that goes and comes back; see what it costs and whether it is exact.

    python -m tests.torture.soak --minutes 30 --rate 200 --seed 7 [--json]

The broker is ended or killed at random instants and started again. Memory is sampled (PSS of all processes of
``finkbridge follow``), and so is the time from a message's making until a new DuckDB connection shows it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from finkbridge import layout
from tests.torture import processes, results
from tests.torture.kills import judge
from tests.torture.world import Lake, World, lakes, torture_world

SETTINGS = {"FINKBRIDGE_MERGE__FILES": "16", "FINKBRIDGE_MERGE__GRACE_S": "60"}
"""So that there are merges, and deletions, in half an hour."""
WARM_UP_SHARE = 0.25
MEMORY_BOUND_MB = 1024
GROWTH_BOUND_MB = 40
"""Growth from the end of the warm-up to the end of the run, by the linear trend: less is flat."""
CALM_AFTER_S = 20.0
"""Messages are of calm times from so long after the broker is back."""
ENDS_WITHIN_S = 10.0
UNSEEN = "SELECT topic, kafka_partition, kafka_offset, epoch_ms(received) FROM deliveries WHERE received > ?"


@dataclass(slots=True)
class Observed:
    """What was seen during a soak; times in Unix seconds."""

    memory: list[tuple[float, float]] = field(default_factory=list)
    """Time and MB, of all processes."""
    lasting: list[tuple[float, float]] = field(default_factory=list)
    """The same of those that last: a merge is made by one that ends with it."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """When a message was made, and seconds until it was seen."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end."""
    restarts: dict[str, int] = field(default_factory=lambda: {"SIGTERM": 0, "SIGKILL": 0})

    def is_calm(self, made: float, latency: float) -> bool:
        """Whether a message was made and seen in calm times."""
        return not any(a - 1 < made + latency and made < b + CALM_AFTER_S for a, b in self.outages)


class Soak:
    """The threads that look and disturb, while a lake is followed."""

    def __init__(self, world: World, lake: Lake, minutes: float) -> None:
        self.world = world
        self.lake = lake
        self.seconds = minutes * 60
        self.seen = Observed()
        self.stop = threading.Event()
        self._rng = random.Random(world.seed)
        self._failed: list[BaseException] = []

    def run(self, rate: float) -> int:
        """Soak; return the exit code of `follow`."""
        with self.world.producing(rate, "plain"):
            process = self.lake.start("follow", "--json")
            threads = [
                threading.Thread(target=self._guarded, args=(work, process))
                for work in (self._sample_memory, self._look)
            ]
            try:
                for thread in threads:
                    thread.start()
                self._disturb(process)
            finally:
                self.stop.set()
                for thread in threads:
                    thread.join()
                code = self._end(process)
            if self._failed:
                raise self._failed[0]
        return code

    def _disturb(self, process: subprocess.Popen[bytes]) -> None:
        """Take the broker away for seconds: some five times, or every two minutes.

        In the thread that began all this: a broker ends with the thread that started it.
        """
        until, pause = time.monotonic() + self.seconds, min(self.seconds / 5, 120)
        while (left := until - time.monotonic()) > 0:
            if not self._goes_on(process, min(left, self._rng.uniform(0.5, 1.5) * pause)):
                return
            if time.monotonic() < until:
                self._restart_broker(self._rng.choice(["SIGTERM", "SIGKILL"]))

    def _goes_on(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if process.poll() is not None or self._failed:
                return False
            time.sleep(0.2)
        return True

    def _restart_broker(self, how: str) -> None:
        kafka, down = self.world.kafka, time.time()
        self.seen.restarts[how] += 1
        kafka.stop() if how == "SIGTERM" else kafka.kill()
        time.sleep(self._rng.uniform(0.2, 8))
        kafka.start()
        self.seen.outages.append((down, time.time()))

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _guarded(self, work: Callable[..., None], process: subprocess.Popen[bytes]) -> None:
        try:
            work(process)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            traceback.print_exc()
            self._failed.append(error)

    def _sample_memory(self, process: subprocess.Popen[bytes]) -> None:
        while not self.stop.wait(2):
            self.seen.memory.append((time.time(), processes.pss_bytes(process.pid) / 1e6))
            self.seen.lasting.append((time.time(), processes.lasting_pss_bytes(process.pid) / 1e6))

    def _look(self, _: subprocess.Popen[bytes]) -> None:
        """Open the catalog anew each half second, and see which messages are there now."""
        ends: dict[tuple[str, int], int] = {}
        began = time.time()
        while not self.stop.wait(0.5):
            if not (self.lake.path / layout.CATALOG).exists():
                continue
            rows, now = self._rows(max(began, time.time() - 120)), time.time()
            for topic, partition, offset, made_ms in rows:
                if offset > ends.get((topic, partition), -1):
                    self.seen.latencies.append((made_ms / 1000, now - made_ms / 1000))
            for topic, partition, offset, _made in rows:
                ends[topic, partition] = max(offset, ends.get((topic, partition), -1))

    def _rows(self, since: float) -> list[tuple[str, int, int, int]]:
        with duckdb.connect(str(self.lake.path / layout.CATALOG), read_only=True) as connection:
            connection.execute("SET threads = 1")
            since_text = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(since))
            return connection.execute(UNSEEN, [since_text]).fetchall()


def trend(samples: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return the linear trend of memory after the warm-up, and the extremes."""
    if len(samples) < 8:
        return {"n": len(samples)}
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    times, values = [t for t, _ in warm], [v for _, v in warm]
    slope = statistics.linear_regression(times, values).slope
    tenth = max(1, len(values) // 10)
    return {
        "n": len(values),
        "begin": round(statistics.median(values[:tenth]), 1),
        "end": round(statistics.median(values[-tenth:]), 1),
        "max": round(max(v for _, v in samples), 1),
        "growth": round(slope * (times[-1] - times[0]), 1),
    }


def batches(lake: Lake) -> dict[str, int]:
    """Return what `follow` said of its batches."""
    lines = [line for line in lake.said.read_text(errors="replace").splitlines() if line.startswith("{")]
    told = [json.loads(line) for line in lines]
    return {"batches": len(told), "drained": sum(b["messages"] for b in told)}


def soak(world: World, minutes: float, rate: float) -> dict[str, Any]:
    """Soak a lake; return all that is to be known of it."""
    with lakes(world, 1, SETTINGS) as (lake,):
        run = Soak(world, lake, minutes)
        code = run.run(rate)
        said = batches(lake)
        problems = [] if code == 128 + signal.SIGTERM else [f"follow ended with {code}: {_last(lake)}"]
        problems += ["a traceback"] if "Traceback" in lake.said.read_text(errors="replace") else []
        outcome = judge(world, lake)
        seen = run.seen
        memory, lasting = trend(seen.memory), trend(seen.lasting)
        if memory.get("max", 0) > MEMORY_BOUND_MB:
            problems.append("memory is over its bound")
        calm = [s for made, s in seen.latencies if seen.is_calm(made, s)]
        found = {
            "minutes": minutes,
            "rate": rate,
            "seed": world.seed,
            **said,
            "restarts": seen.restarts,
            "memory_mb": memory,
            "lasting_memory_mb": lasting,
            "is_flat": memory.get("growth", 0) < GROWTH_BOUND_MB,
            "latency_s": results.distribution([s for _, s in seen.latencies]),
            "calm_latency_s": results.distribution(calm),
            "outages_s": results.distribution([b - a for a, b in seen.outages]),
            "messages": outcome.messages,
            "rows": outcome.rows,
            "quarantined": outcome.quarantined,
            "lost": outcome.lost,
            "doubled": outcome.doubled,
            "wrong": outcome.wrong,
            "strays": outcome.strays,
            "problems": problems + outcome.problems + [str(f) for f in outcome.findings],
            "exact": outcome.is_exact and not problems,
            "memory_samples_mb": [round(v) for _, v in seen.memory][:: max(1, len(seen.memory) // 60)],
            "lasting_samples_mb": [round(v) for _, v in seen.lasting][:: max(1, len(seen.lasting) // 60)],
        }
        if not found["exact"]:
            print(json.dumps(found), file=sys.stderr)
            raise AssertionError("the lake is not exact, or follow did not end well")
    return found


def _last(lake: Lake) -> str:
    return lake.said.read_text(errors="replace")[-1000:]


def main() -> None:
    """Run it, print the figures and one line of JSON, and keep the latter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--rate", type=float, default=200, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    given = parser.parse_args()
    with torture_world(given.seed) as world:
        found = soak(world, given.minutes, given.rate)
    if not given.json:
        results.show("soak", found["restarts"], found)
    print(json.dumps(found))
    results.save("soak", found)
    sys.exit(0 if found["exact"] and found["is_flat"] else 1)


if __name__ == "__main__":
    main()
