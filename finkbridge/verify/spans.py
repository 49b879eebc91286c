"""What is not in the lake and need not be: offsets without a message, and offsets that are recorded as lost.

Both are facts that the ledger accounts for, and no damage: a gap is named in every report of what is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, select

from finkbridge.ledger import schema as s
from finkbridge.verify.offsets import BATCH_ROWS, generation_names

NAMED = 1_000
"""Holes of a partition that are named, the first ones: a topic of transactions has one after each."""


@dataclass(slots=True)
class Spans:
    """Offset ranges of one partition that have no row."""

    kind: Literal["gap", "hole"]
    """``gap`` for what is lost, one of them; ``hole`` for where no message is, all of a partition."""
    where: str
    reason: str
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Half-open, in order, `NAMED` at most."""
    count: int = 0
    offsets: int = 0

    def add(self, holes: Sequence[Sequence[int]]) -> None:
        """Count ranges."""
        for start, end in holes:
            self.count += 1
            self.offsets += end - start
            if len(self.ranges) < NAMED:
                self.ranges.append((start, end))

    def __str__(self) -> str:
        start, end = self.ranges[0]
        first = f"[{start}, {end})"
        if self.kind == "gap":
            return f"gap: {self.where}: offsets {first} are lost: {self.reason}"
        which = f"offsets {first}" if self.count == 1 else f"{self.count:,} ranges, the first {first},"
        return f"hole: {self.where}: {which} have no message ({self.offsets:,} offsets): {self.reason}"


def read_spans(connection: Connection) -> Iterator[Spans]:
    """Yield all gaps, then the holes of each partition that has some."""
    names = generation_names(connection)
    x, r = s.gaps.c, s.segment_ranges.c
    for row in connection.execute(
        select(s.gaps).order_by(x.generation_id, x.partition, x.start_offset)
    ).all():
        gap = Spans("gap", _where(names, row), row.reason)
        gap.add([(row.start_offset, row.end_offset)])
        yield gap
    query = select(r.generation_id, r.partition, r.holes).where(r.holes != "[]")
    rows = connection.execution_options(yield_per=BATCH_ROWS).execute(
        query.order_by(r.generation_id, r.partition, r.start_offset)
    )
    found: Spans | None = None
    for row in rows:
        where = _where(names, row)
        if found is None or found.where != where:
            if found is not None:
                yield found
            found = Spans("hole", where, "confirmed by a second look")
        found.add(json.loads(row.holes))
    if found is not None:
        yield found


def _where(names: dict[int, str], row: Any) -> str:
    return f"{names[row.generation_id]}, partition {row.partition}"
