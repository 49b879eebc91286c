"""Lakes for the tests of verification: landed and committed by finkbridge's own functions, with no broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import update

from finkbridge import catalog, disk, merge
from finkbridge.land import Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.ledger.store import KnownGeneration
from finkbridge.values import Message, OffsetRange, SegmentPlan
from finkbridge.verify import Finding, Options, Report, Scope, verify
from finkbridge.verify.sample import Sample
from tests.support.lake import POINT, encode

TIME_MS = 1_774_050_000_000  # 2026-03-20T23:40 UTC
DAY_MS = 86_400_000


class Feed:
    """Messages of one topic, as a broker would give them."""

    def __init__(self, topic: str, messages: Sequence[Message]) -> None:
        self.topic = topic
        self.messages = list(messages)

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:
        yield [
            m for m in self.messages if m.partition == span.partition and span.start <= m.offset < span.end
        ]

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:
        return True

    def first_key(self, topic: str, /) -> bytes | None:
        return None

    def ends(self) -> dict[int, int]:
        return {m.partition: m.offset + 1 for m in self.messages}


def point(offset: int, x: float = 1.5, partition: int = 0, **more: Any) -> Message:
    """Return a message of eight bytes."""
    key, value = json.dumps(POINT).encode(), encode(POINT, {"x": x})
    return Message(
        partition, offset, more.pop("timestamp_ms", TIME_MS + offset), 1, key, more.pop("value", value)
    )


def alert(offset: int, record: tuple[bytes | None, bytes | None], partition: int = 0) -> Message:
    """Return a message of a real alert."""
    return Message(partition, offset, TIME_MS + offset, 1, *record)


def mixed(records: Sequence[tuple[bytes | None, bytes | None]]) -> list[Message]:
    """Return alerts in two partitions, with a hole, a message that is bad and one of another schema."""
    messages = [alert(n // 2 if n < 4 else n // 2 + 1, record, n % 2) for n, record in enumerate(records)]
    end = len(records)
    messages += [point(end, value=b"rubbish"), point(end + 1, 2.5), point(end + 2, float("nan"), partition=1)]
    return sorted(messages, key=lambda m: (m.partition, m.offset))


def add(lake: Path, feed: Feed, *, parts: int = 1, byte_limit: int = 10**9) -> None:
    """Drain a feed into a lake, in so many plans a partition, and publish."""
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        generation = ledger.generations().get(("ztf", feed.topic)) or coordinator.add_generation(
            "ztf", feed.topic, None
        )
        known = ledger.partitions(generation.row_id)
        first = {p: min(m.offset for m in feed.messages if m.partition == p) for p in feed.ends()}
        coordinator.start_partitions(generation, {p: o for p, o in first.items() if p not in known})
        starts = {p: row.next_offset for p, row in ledger.partitions(generation.row_id).items()}
        for part in range(parts):
            ranges = tuple(_cut(starts[p], end, part, parts, p) for p, end in sorted(feed.ends().items()))
            plan = planned(coordinator, generation, tuple(r for r in ranges if r.offsets), byte_limit)
            coordinator.commit_segment(plan, Lander(lake, feed).land(plan))
        catalog.publish(coordinator)


def planned(
    coordinator: Coordinator,
    generation: KnownGeneration,
    ranges: tuple[OffsetRange, ...],
    byte_limit: int = 10**9,
) -> SegmentPlan:
    """Write one plan down."""
    (plan,) = coordinator.add_plans(generation, [ranges], byte_limit)
    return plan


def _cut(start: int, end: int, part: int, parts: int, partition: int) -> OffsetRange:
    edges = [start + (end - start) * n // parts for n in range(parts + 1)]
    return OffsetRange(partition, edges[part], edges[part + 1])


def merge_all(lake: Path) -> None:
    """Merge whatever has two files, and publish."""
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        assert merge.merge_crowds(coordinator, ledger.crowds(1)) == []
        catalog.publish(coordinator)


def files(lake: Path, table: str) -> list[Any]:
    """Return the ledger's rows of the files of a table that are alive."""
    with Ledger(lake) as ledger:
        return list(ledger.alive_files(table))


def doctor(lake: Path, *statements: Any) -> None:
    """Change the ledger behind everybody's back."""
    with Ledger(lake) as ledger, ledger.engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def forge(lake: Path, file: Any, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite a Parquet file with other rows, and have the ledger say that this is how it was written."""
    path = lake / file.path
    with Ledger(lake) as ledger:
        schema = pa.ipc.read_schema(pa.py_buffer(ledger.schema_contents("arrow")[file.schema_id]))
    table = change(pq.ParquetFile(path).read().cast(schema))
    pq.write_table(table, path)
    facts = {"bytes": path.stat().st_size, "checksum": disk.checksum(path)}
    doctor(lake, update(s.files).where(s.files.c.id == file.id).values(**facts))


def verified(lake: Path, **asked: Any) -> Report:
    """Verify a lake with an SQLite ledger."""
    scope = Scope.parse(asked.pop("nights", ()), asked.pop("topics", ()))
    if "sample" in asked:
        asked["sample"] = Sample.parse(asked["sample"])
    return verify(lake, None, Options(scope=scope, **asked))


def the_finding(lake: Path, **asked: Any) -> Finding:
    """Verify a lake that has one thing wrong."""
    report = verified(lake, **asked)
    (finding,) = report.findings
    assert "\n" not in str(finding)
    assert not report.holds
    return finding
