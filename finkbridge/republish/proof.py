"""The proof of a job: the target is read back, and held against the archive."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import xxhash

from finkbridge.broker import Broker
from finkbridge.broker.resumable import Progress
from finkbridge.republish.index import Index
from finkbridge.values import Message, OffsetRange

PATIENCE_S = 10.0
"""Kafka's markers of a transaction come after its answer: what it holds is seen a moment later."""


@dataclass(slots=True)
class Report:
    """What came of a job."""

    topic: str
    target: str
    selected: int = 0
    before: int = 0
    """Messages that earlier processes of this job had sent."""
    sent: int = 0
    bytes: int = 0
    found: int = 0
    """Messages in the target, read back."""
    hash: str = ""
    """xxh3-128 over all messages of the selection: values, keys, headers, timestamps."""
    undated: int = 0
    """Messages without a timestamp, which get the target's."""
    problems: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the target holds exactly the selection."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        names = (
            "topic",
            "target",
            "selected",
            "before",
            "sent",
            "bytes",
            "found",
            "hash",
            "undated",
            "problems",
        )
        return {name: getattr(self, name) for name in names} | {"succeeded": self.succeeded}


def prove(broker: Broker, target: str, index: Index, done: Mapping[int, Progress], report: Report) -> None:
    """Read the target back, partition by partition, and note in the report what differs from the archive."""
    total, ends = xxhash.xxh3_128(), _settled_ends(broker, target)
    for partition, progress in sorted(done.items()):
        mine = index.frame.filter(pl.col("partition") == partition).sort("offset")
        without_times = report.undated > 0
        wanted, count = _digest((m for _, m in index.messages(mine)), without_times=without_times)
        span = OffsetRange(partition, progress.start, ends[partition])
        there = (message for batch in broker.fetch(target, span) for message in batch)
        found, present = _digest(there, without_times=without_times)
        total.update(wanted.encode())
        report.found += present
        if present != count:
            report.problems.append(
                f"partition {partition} of {target} got {present:,} messages since this work began, and "
                f"{count:,} are selected: others write to it, or it has lost some"
            )
        elif found != wanted:
            report.problems.append(
                f"partition {partition} of {target} differs from the archive: look whether it sets its own "
                "timestamps (message.timestamp.type), or others write to it"
            )
    report.hash = total.hexdigest()


def _settled_ends(broker: Broker, target: str) -> dict[int, int]:
    """Return the end of each partition, once no transaction holds anything back."""
    until = time.monotonic() + PATIENCE_S
    while True:
        before = {key: marks.end for key, marks in broker.watermarks([target]).items()}
        is_held = bool(broker.held_back(before))
        ends = {key: marks.end for key, marks in broker.watermarks([target]).items()}
        if (ends == before and not is_held) or time.monotonic() > until:
            return {partition: end for (_, partition), end in ends.items()}
        time.sleep(0.05)


def _digest(messages: Iterator[Message], *, without_times: bool) -> tuple[str, int]:
    """Return hash and number of messages: all of each but partition and offset."""
    digest, count = xxhash.xxh3_128(), 0
    for m in messages:
        stamp = None if without_times else m.timestamp_ms
        digest.update(repr((stamp, m.headers, _size(m.key), _size(m.value))).encode())
        digest.update(m.key or b"")
        digest.update(m.value or b"")
        count += 1
    return digest.hexdigest(), count


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)
