"""``finkbridge consumer --save`` beside fink-client's own consumer: the same topic, one file an alert.

Run it with ``python -m benchmarks.consumer``. It exits with 1 where the target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fastavro

from benchmarks.alerts import COUNTS, AlertFile, alert_file
from benchmarks.fill import Topic, fill
from benchmarks.measure import Usage, measure
from benchmarks.peers import FINK_CLIENT, environment
from tests.support.kafka_server import KafkaServer

TARGET = 5.0
"""Times as many alerts a second as fink-client."""
ALERTS = {"ztf": 4_000, "lsst": 800}
TOPIC = "fink_{survey}_consumer_bench"
COMPARED = 100
"""Alerts of both whose every field is compared."""
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Few(AlertFile):
    """The first alerts of a file."""

    count: int = 0

    def values(self) -> Iterator[bytes]:
        """Yield each of them."""
        return itertools.islice(AlertFile.values(self), self.count)


@dataclass(frozen=True, slots=True)
class Saved:
    """What one program did."""

    usage: Usage
    seconds: float
    """Of polling and saving; for finkbridge, of the whole command."""
    folder: Path


class Program(Protocol):
    """Saves all alerts of a topic into a folder."""

    def __call__(self, server: str, topic: Topic, folder: Path, *, watched: bool) -> Saved:
        """Do so."""


def theirs(server: str, topic: Topic, folder: Path, *, watched: bool) -> Saved:
    """Poll and write with fink-client, in a process of its own; its start is not counted."""
    python = environment("fink-client", f"fink-client=={FINK_CLIENT}") / "bin/python"
    words = [server, topic.name, topic.survey, str(topic.messages), str(folder)]
    usage = measure(
        [str(python), str(HERE / "fink_consumer_loop.py"), *words], folder=folder, watched=watched
    )
    told = next(json.loads(line) for line in usage.output.splitlines() if line.startswith('{"seconds"'))
    return Saved(usage, told["seconds"], folder)


def ours(server: str, topic: Topic, folder: Path, *, watched: bool) -> Saved:
    """Run the command, start and end included."""
    program = Path(sys.executable).parent / "finkbridge"
    words = ["consumer", topic.name, "--save", "-outdir", str(folder), "-limit", str(topic.messages)]
    cluster = f"FINKBRIDGE_CLUSTERS__{topic.survey.upper()}__"
    environ = {
        f"{cluster}SERVERS": server,
        f"{cluster}GROUP_ID": f"ours-{folder.name}",
        "HOME": str(folder.parent),
    }
    usage = measure([str(program), *words], environ, folder, watched=watched)
    return Saved(usage, usage.seconds, folder)


PROGRAMS: dict[str, Program] = {"fink-client": theirs, "finkbridge": ours}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each; one more is watched")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="finkbridge-bench-"))
    try:
        with KafkaServer(("-Xmx1g",)) as server:
            return max(_survey(survey, server.bootstrap, work, options.rounds) for survey in ALERTS)
    finally:
        shutil.rmtree(work)


def _survey(survey: str, server: str, work: Path, rounds: int) -> int:
    whole = alert_file(survey, COUNTS[survey])
    topic = fill(server, Few(survey, whole.path, ALERTS[survey]), name=TOPIC)
    rates: dict[str, list[float]] = {"fink-client": [], "finkbridge": []}
    for number in range(rounds + 1):
        watched = number == rounds
        done = {name: _run(run, server, topic, work, watched=watched) for name, run in PROGRAMS.items()}
        _compare(done["fink-client"].folder, done["finkbridge"].folder, topic.messages)
        for name, saved in done.items():
            print(_line(survey, name, saved, topic.messages), flush=True)
            if not watched:
                rates[name].append(topic.messages / saved.seconds)
            shutil.rmtree(saved.folder)
    best = {name: sorted(found)[len(found) // 2] for name, found in rates.items()}
    times = best["finkbridge"] / best["fink-client"]
    print(f"{survey}: {times:.1f} times fink-client's (target {TARGET:g}), medians of {rounds}")
    return int(times < TARGET)


def _run(program: Program, server: str, topic: Topic, work: Path, *, watched: bool) -> Saved:
    folder = Path(tempfile.mkdtemp(dir=work))
    os.sync()
    return program(server, topic, folder, watched=watched)


def _line(survey: str, name: str, saved: Saved, messages: int) -> str:
    usage = saved.usage
    told = f"{messages / saved.seconds:,.0f} alerts/s ({saved.seconds:.1f} s"
    if usage.watched:
        told = f"watched (CPU {usage.cpu_s:.1f} s, {usage.pss_bytes / 2**20:,.0f} MiB"
    return f"{survey} {name}: {told}, load {usage.load:.1f})"


def _compare(theirs: Path, ours: Path, messages: int) -> None:
    """Raise unless both saved every alert, and the first ones of both are equal in every field."""
    mine = {_source(file): file for file in ours.glob("*.avro")}
    yours = {_source(file): file for file in theirs.glob("*.avro")}
    if not len(mine) == len(yours) == messages or mine.keys() != yours.keys():
        raise SystemExit(f"{len(mine)} and {len(yours)} files for {messages} messages")
    for source in sorted(mine)[:COMPARED]:
        if repr(_read(mine[source])) != repr(_read(yours[source])):
            raise SystemExit(f"alert {source} differs")


def _source(file: Path) -> str:
    """Return what names the alert in both programs' files: ``candid``, or ``diaSourceId``."""
    return file.stem.rpartition("_")[2]


def _read(file: Path) -> list[object]:
    with file.open("rb") as stream:
        return list(fastavro.reader(stream))


if __name__ == "__main__":
    sys.exit(main())
