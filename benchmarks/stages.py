"""``python -m benchmarks.stages``: where a drain's CPU seconds go, by stage, all of it in this process.

The functions of each stage are wrapped in timers, which count a stage without those inside it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.alerts import COUNTS, alert_file
from benchmarks.drain import JVM
from benchmarks.fill import Topic, fill
from finkbridge import disk, land, landing, parquet, surveys, tables
from finkbridge.avro.check import Checker
from finkbridge.avro.decode import Decoder
from finkbridge.avro.resolve import SchemaResolver
from finkbridge.drain import drain
from finkbridge.settings import load_settings
from tests.support.kafka_server import KafkaServer

STAGES: dict[str, list[tuple[Any, str]]] = {
    "find schemas": [(SchemaResolver, "group")],
    "check": [(Checker, "check")],
    "archive": [(landing, "write_archive")],
    "decode": [(Decoder, "decode")],
    "describe": [(surveys, "describe")],
    "make tables": [(tables, "deliveries_of"), (tables, "packets_of"), (tables, "sort")],
    "write Parquet": [(parquet, "write")],
    "sync and hash": [(disk, "sync_file"), (disk, "sync_folder"), (disk, "checksum")],
}


@dataclass(slots=True)
class Timers:
    """CPU seconds of this process, all its threads, by stage."""

    cpu_s: Counter[str] = field(default_factory=Counter)
    _inner: list[float] = field(default_factory=lambda: [0.0])

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a timer around it."""

        def call(*args: Any, **options: Any) -> Any:
            self._inner.append(0.0)
            begin = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self._note(stage, time.process_time() - begin)

        return call

    def timed_items(self, stage: str, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Return the generator function with a timer around each step."""

        def call(*args: Any) -> Iterator[Any]:
            steps = self.timed(stage, lambda it: next(it, None))
            found = function(*args)
            yield from itertools.takewhile(lambda item: item is not None, map(steps, itertools.repeat(found)))

        return call

    def _note(self, stage: str, spent_s: float) -> None:
        self.cpu_s[stage] += spent_s - self._inner.pop()
        self._inner[-1] += spent_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--survey", dest="surveys", action="append", choices=COUNTS, help="default: both")
    surveys_asked = parser.parse_args().surveys or list(COUNTS)
    timers = Timers()
    _install(timers)
    with KafkaServer(JVM) as server:
        topics = [fill(server.bootstrap, alert_file(name, COUNTS[name])) for name in surveys_asked]
        os.sync()
        told = [_drain(server.bootstrap, topic, timers) for topic in topics]
    print(f"written: {results.save('stages', {'topics': told})}")


def _install(timers: Timers) -> None:
    for stage, places in STAGES.items():
        for owner, name in places:
            setattr(owner, name, timers.timed(stage, getattr(owner, name)))
    land.parts_of = timers.timed_items("fetch", land.parts_of)


def _drain(bootstrap: str, topic: Topic, timers: Timers) -> dict[str, Any]:
    timers.cpu_s.clear()
    with tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
        config = Path(work, "finkbridge.toml")
        cluster = f'[clusters.{topic.survey}]\nservers = "{bootstrap}"\n'
        config.write_text(f'lake = "{work}/lake"\nworkers = 0\n{cluster}')
        load, begin, cpu_begin = os.getloadavg()[0], time.monotonic(), time.process_time()
        report = drain(load_settings(config, {"HOME": work}).settings, [topic.name])
        seconds, cpu_s = time.monotonic() - begin, time.process_time() - cpu_begin
    rows = sum(one.rows for one in report.topics.values())
    problem = "" if rows == topic.messages else f" WRONG: {rows} rows"
    print(f"{topic.name}: {seconds:.1f} s, {cpu_s:.1f} CPU s, load {load:.1f}{problem}")
    stages = dict(timers.cpu_s.most_common()) | {"all else": cpu_s - timers.cpu_s.total()}
    for stage, spent_s in stages.items():
        print(f"  {stage:14} {spent_s:6.2f} CPU s {spent_s * 1e9 / topic.value_bytes:6.2f} ms/MB")
    return {"topic": topic.name, "seconds": seconds, "cpu_s": cpu_s, "load": load, "stages": stages}


if __name__ == "__main__":
    main()
