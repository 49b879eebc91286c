"""``python -m benchmarks.verify``: how fast a lake is verified and rebuilt, beside what landing it took.

The lake is landed in this process from simulated alerts, with no broker: that is the drain's own decoding,
on one core. Then ``finkbridge verify`` and ``finkbridge rebuild`` run on it as a user would run them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure, results
from benchmarks.alerts import COUNTS, AlertFile, alert_file
from finkbridge import catalog, merge
from finkbridge.land import Lander
from finkbridge.ledger import Ledger, coordinate
from finkbridge.values import Message, OffsetRange

SEGMENT_BYTES = 64_000_000
MODES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "deep, no fastavro": ("--deep", "--sample", "0"),
    "deep": ("--deep",),
    "deep, independent": ("--deep", "--independent"),
}

REBUILDS: dict[str, tuple[str, ...]] = {
    "rebuild": (),
    "rebuild --ledger": ("--ledger", "--replace"),
}


@dataclass(slots=True)
class _Feed:
    """Messages of one segment, as a broker would give them."""

    messages: Sequence[Message]

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:  # noqa: ARG002 - the protocol's
        yield list(self.messages)

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:  # noqa: ARG002
        return True

    def first_key(self, topic: str, /) -> bytes | None:  # noqa: ARG002
        return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--survey", dest="surveys", action="append", choices=COUNTS, help="default: both")
    parser.add_argument("--messages", type=int, help="of each survey; default: as in benchmarks.drain")
    parser.add_argument("--merged", action="store_true", help="merge the nights before")
    asked = parser.parse_args()
    told = []
    for survey in asked.surveys or list(COUNTS):
        with tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
            told += list(_measure(Path(work), survey, asked.messages or COUNTS[survey], merged=asked.merged))
    _show(told)
    print(f"written: {results.save('verify', {'runs': told})}")


def _measure(work: Path, survey: str, messages: int, *, merged: bool) -> Iterator[dict[str, Any]]:
    lake, file = work / "lake", alert_file(survey, messages)
    value_bytes, landing_s = _land(lake, file, merged=merged)
    size = {"survey": survey, "messages": messages, "value_bytes": value_bytes, "merged": merged}
    yield size | {"mode": "landing it (one core)", "seconds": landing_s, "bytes": value_bytes}
    command = str(Path(sys.executable).with_name("finkbridge"))
    for mode, options in MODES.items():
        asked = [command, "--lake", str(lake), "verify", "--json", *options]
        timed, usage = (_run(asked, work, watched=watched) for watched in (False, True))
        report = json.loads(timed.output)
        yield size | {
            "mode": mode,
            "seconds": report["seconds"],
            "bytes": report["bytes"],
            "holds": report["holds"],
            "deep": report["deep"],
            "wall_s": timed.seconds,
            "cpu_s": usage.cpu_s,
            "pss_bytes": usage.pss_bytes,
            "load": timed.load,
        }
    for mode, options in REBUILDS.items():
        asked = [command, "--lake", str(lake), "rebuild", *options]
        timed, usage = (_run(asked, work, watched=watched) for watched in (False, True))
        spent = {"seconds": timed.seconds, "cpu_s": usage.cpu_s, "pss_bytes": usage.pss_bytes}
        yield size | {"mode": mode, "bytes": value_bytes, "load": timed.load, **spent}


def _run(command: Sequence[str], work: Path, *, watched: bool) -> measure.Usage:
    os.sync()
    return measure.measure(command, _environ(work), work, watched=watched)


def _environ(work: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")}
    return kept | {"HOME": str(work)}


def _land(lake: Path, file: AlertFile, *, merged: bool) -> tuple[int, float]:
    """Land all alerts; return their bytes and the seconds that landing took, without commits."""
    topic, key, seconds, total = f"fink_bench_{file.survey}", file.key(), 0.0, 0
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        generation = coordinator.add_generation(file.survey, topic, None)
        coordinator.start_partitions(generation, {0: 0})
        feed = _Feed(())
        lander = Lander(lake, feed)
        for messages in _segments(file, key):
            feed.messages = messages
            span = OffsetRange(0, messages[0].offset, messages[-1].offset + 1)
            (plan,) = coordinator.add_plans(generation, [(span,)], 10 * SEGMENT_BYTES)
            total += sum(message.size for message in messages)
            begin = time.monotonic()
            parts = lander.land(plan)
            seconds += time.monotonic() - begin
            coordinator.commit_segment(plan, parts)
        if merged:
            merge.merge_crowds(coordinator, ledger.crowds(1))
        catalog.publish(coordinator)
    return total, seconds


def _segments(file: AlertFile, key: bytes) -> Iterator[list[Message]]:
    values, offset = file.values(), 0
    while first := next(values, b""):
        some = [first, *islice(values, max(1, SEGMENT_BYTES // len(first)) - 1)]
        yield [Message(0, offset + n, 1_774_000_000_000, 1, key, value) for n, value in enumerate(some)]
        offset += len(some)


def _show(told: Sequence[dict[str, Any]]) -> None:
    table = Table(title="A lake verified (read, decoded anew, compared) and rebuilt")
    for heading in ("survey", "mode"):
        table.add_column(heading)
    for heading in ("messages", "s", "MB/s", "messages/s", "compared MB/s", "CPU s", "PSS MiB", "holds"):
        table.add_column(heading, justify="right")
    for run in told:
        table.add_row(
            run["survey"] + (" merged" if run["merged"] else ""),
            run["mode"],
            f"{run['messages']:,}",
            f"{run['seconds']:.2f}",
            f"{run['bytes'] / 1e6 / run['seconds']:,.0f}",
            f"{run['messages'] / run['seconds']:,.0f}",
            f"{deep['bytes'] / 1e6 / deep['seconds']:,.0f}" if (deep := run.get("deep")) else "",
            f"{run['cpu_s']:.1f}" if "cpu_s" in run else "",
            f"{run['pss_bytes'] / 2**20:,.0f}" if "pss_bytes" in run else "",
            str(run.get("holds", "")),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
