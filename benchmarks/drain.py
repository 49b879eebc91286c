"""``python -m benchmarks.drain``: finkbridge and its peers drain the same topics of one real Kafka.

The programs take turns in rounds, so that a busy moment of the machine meets all of them. A last round is
watched for memory and CPU, and not timed. The messages are in the broker's page cache, as it has just written
them. finkbridge syncs all that it writes to disk; the others sync nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.alerts import COUNTS, alert_file
from benchmarks.fill import TOPIC, Topic, fill
from benchmarks.peers import PROGRAMS, Case
from benchmarks.results import Run, Summary
from tests.support.kafka_server import KafkaServer

JVM = ("-Xmx1g",)
QUICK = ("consume() loop", "finkbridge drain", "finkbridge transfer")
"""Programs that run in every round; the others once, and once watched."""
OURS, TRANSFER = "finkbridge drain", "finkbridge transfer"
FINKCTL, TUNED, SPARK = "finkctl transfer", "finkctl transfer, tuned", "Spark"
DEPTH = 4
FASTER_THAN = {FINKCTL: 10.0, TUNED: None, SPARK: 3.0}
"""None: told, not a target."""
MOST_MEMORY_MIB = 1024
DEEPER_TAKES = 4.2
SAME_MEMORY = 1.1
"""Peaks this close are the same: one run differs from the next as much."""


def main() -> int:
    options = _options()
    with KafkaServer(JVM) as server, tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
        runs = [run for survey in options.surveys for run in _survey(survey, options, server, Path(work))]
    results.show(runs)
    failures = [problem for told in _judge(runs) if (problem := _say(*told))]
    saved = results.save("drain", {"runs": [results.as_dict(run) for run in runs], "failures": failures})
    print(f"written: {saved}")
    return bool(failures) or not all(run.exact for run in runs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--survey", dest="surveys", action="append", choices=COUNTS, help="default: both")
    parser.add_argument("--rounds", type=int, default=3, help="runs of the quick programs (default: 3)")
    parser.add_argument("--n", type=int, help=f"alerts of each survey (default: {COUNTS})")
    parser.add_argument("--only", action="append", choices=PROGRAMS, help="programs to run; repeatable")
    parser.add_argument(
        "--spark", action="store_true", help="run Spark, too (needs Java; fetches 500 MB once)"
    )
    parser.add_argument("--depth", action="store_true", help=f"drain a backlog {DEPTH} times as deep, too")
    options = parser.parse_args()
    options.surveys = options.surveys or list(COUNTS)
    options.programs = options.only or [name for name in PROGRAMS if name != SPARK or options.spark]
    return options


def _survey(survey: str, options: argparse.Namespace, server: KafkaServer, work: Path) -> Iterator[Run]:
    alerts = alert_file(survey, options.n or COUNTS[survey])
    topic = fill(server.bootstrap, alerts)

    def run(program: str, topic: Topic, *, watched: bool) -> Run:
        return _run(program, Case(server.bootstrap, topic, alerts, Path(tempfile.mkdtemp(dir=work)), watched))

    for number in range(options.rounds):
        for program in options.programs:
            if number == 0 or program in QUICK:
                yield run(program, topic, watched=False)
    for program in options.programs:
        yield run(program, topic, watched=True)
    if options.depth:
        deep = fill(server.bootstrap, alerts, DEPTH, TOPIC + "_deep")
        for watched in (False, True):
            yield run(OURS, deep, watched=watched)


def _run(program: str, case: Case) -> Run:
    os.sync()  # what the filling or the last program left unwritten is not this one's to wait for
    run = Run(program, case.topic, PROGRAMS[program](case))
    shutil.rmtree(case.folder)
    usage = run.outcome.usage
    told = f"watched, {usage.pss_bytes / 2**20:,.0f} MiB" if usage.watched else f"{usage.seconds:.2f} s"
    print(f"{case.topic.name}: {program}: {told}, load {usage.load:.1f} {run.outcome.problem}", flush=True)
    return run


def _judge(runs: Sequence[Run]) -> Iterator[tuple[str, float, str, float | None]]:
    """Yield what is measured, its value, ``>=`` or ``<=``, and the target."""
    found = results.summaries(runs)
    for survey in dict.fromkeys(run.topic.survey for run in runs):
        topic = TOPIC.format(survey=survey)
        if ours := found.get((topic, OURS)):
            for peer, times in FASTER_THAN.items():
                if theirs := found.get((topic, peer)):
                    yield f"{survey}: times as fast as {peer}", theirs.drain_s / ours.seconds, ">=", times
            yield f"{survey}: peak PSS, MiB", ours.pss_mb, "<=", MOST_MEMORY_MIB
        if (moved := found.get((topic, TRANSFER))) is not None:
            for peer in (FINKCTL, TUNED):
                if theirs := found.get((topic, peer)):
                    times = theirs.seconds / moved.seconds
                    yield f"{survey}: transfer, times as fast as {peer}", times, ">=", FASTER_THAN[peer]
            yield f"{survey}: transfer, peak PSS, MiB", moved.pss_mb, "<=", MOST_MEMORY_MIB
        if ours is not None and (deep := found.get((f"{topic}_deep", OURS))):
            yield from _judge_depth(survey, ours, deep)


def _judge_depth(survey: str, ours: Summary, deep: Summary) -> Iterator[tuple[str, float, str, float]]:
    times = deep.runs[0].topic.messages / ours.runs[0].topic.messages
    yield f"{survey}: {times:.0f} times deeper takes times", deep.seconds / ours.seconds, "<=", DEEPER_TAKES
    yield (
        f"{survey}: {times:.0f} times deeper, times the memory",
        deep.anonymous_mb / ours.anonymous_mb,
        "<=",
        SAME_MEMORY,
    )


def _say(what: str, value: float, sign: str, target: float | None) -> str:
    if target is None:
        print(f"{what}: {value:,.2f}")
        return ""
    good = value >= target if sign == ">=" else value <= target
    line = f"{what}: {value:,.2f} (target {sign} {target:g}) {'reached' if good else 'MISSED'}"
    print(line)
    return "" if good else line


if __name__ == "__main__":
    sys.exit(main())
