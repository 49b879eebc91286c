"""The proof in the ledger: ranges and gaps tile each partition, and each offset is accounted for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, select, union_all

from finkbridge.ledger import schema as s
from finkbridge.verify.findings import RESTORE_LEDGER, Finding

BATCH_ROWS = 10_000


def check_offsets(connection: Connection) -> Iterator[Finding]:
    """Yield every partition that is not tiled, and every range and segment that does not add up."""
    names = generation_names(connection)
    yield from _check_tiles(connection, names)
    yield from _check_segments(connection, names)


def generation_names(connection: Connection) -> dict[int, str]:
    """Return what to call each generation, by row id."""
    rows = connection.execute(select(s.generations))
    return {r.id: f"{r.topic} ({r.cluster}, generation {r.generation})" for r in rows}


def tile_problems(first: int, end: int, pieces: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Yield where pieces, ordered by their start, do not tile ``[first, end)``."""
    at = first
    for start, stop in pieces:
        if start > at:
            yield f"offsets [{at}, {start}) are in no segment and in no gap"
        elif start < at:
            yield f"offsets [{start}, {min(stop, at)}) are accounted for twice, or lie before the first one"
        at = max(at, stop)
    if at != end:
        yield f"segments and gaps end at offset {at}, and the ledger's end is {end}"


def hole_offsets(start: int, end: int, holes: Sequence[Sequence[int]]) -> int:
    """Return how many offsets a range's holes have.

    Raises
    ------
    ValueError
        The holes overlap, or are not within ``[start, end)``.
    """
    at = start
    for first, last in holes:
        if not at <= first < last <= end:
            raise ValueError(f"its hole [{first}, {last}) is out of order or out of range")
        at = last
    return sum(last - first for first, last in holes)


def _check_tiles(connection: Connection, names: dict[int, str]) -> Iterator[Finding]:
    ends = {
        (r.generation_id, r.partition): (r.first_offset, r.next_offset)
        for r in connection.execute(select(s.partitions))
    }
    rows = connection.execution_options(yield_per=BATCH_ROWS).execute(_pieces())
    for key, mine in groupby(rows, itemgetter(0, 1)):
        bounds = ends.pop(key, None)
        pieces = [(row.start, row.end) for row in mine]
        if bounds is None:
            problems = iter(["has segments or gaps, and no row of its own"])
        else:
            problems = tile_problems(*bounds, pieces)
        yield from (_offsets(names, key[0], key[1], problem) for problem in problems)
    for key, bounds in ends.items():
        yield from (_offsets(names, key[0], key[1], problem) for problem in tile_problems(*bounds, ()))


def _pieces() -> Select[Any]:
    r, x = s.segment_ranges.c, s.gaps.c
    generation = s.segments.c.generation_id
    landed = select(generation, r.partition, r.start_offset.label("start"), r.end_offset.label("end"))
    lost = select(x.generation_id, x.partition, x.start_offset, x.end_offset)
    every = union_all(landed.select_from(s.segment_ranges.join(s.segments)), lost).subquery()
    c = every.c
    return select(every).order_by(c.generation_id, c.partition, c.start, c.end)


def _check_segments(connection: Connection, names: dict[int, str]) -> Iterator[Finding]:
    r, c = s.segment_ranges.c, s.segments.c
    query = (
        select(
            c.id, c.plan, c.part, c.generation_id, c.messages, c.rows, c.quarantined, c.holes,
            r.partition, r.start_offset, r.end_offset, r.rows.label("range_rows"),
            r.quarantined.label("range_quarantined"), r.holes.label("range_holes"),
        )
        .select_from(s.segments.outerjoin(s.segment_ranges))
        .order_by(c.id, r.position)
    )  # fmt: skip
    rows: Iterable[Row[Any]] = connection.execution_options(yield_per=BATCH_ROWS).execute(query)
    for _, mine in groupby(rows, itemgetter(0)):
        yield from _check_segment(list(mine), names)


def _check_segment(ranges: Sequence[Row[Any]], names: dict[int, str]) -> Iterator[Finding]:
    segment, holes = ranges[0], 0
    if segment.partition is None:
        yield _counts(names, segment, "has no offset ranges")
        return
    for r in ranges:
        try:
            mine = hole_offsets(r.start_offset, r.end_offset, json.loads(r.range_holes))
        except (ValueError, TypeError) as error:
            yield _offsets(names, r.generation_id, r.partition, f"{_span(r)}: {error}")
            mine = 0
        holes += mine
        offsets, told = r.end_offset - r.start_offset, r.range_rows + r.range_quarantined + mine
        if offsets <= 0 or offsets != told:
            problem = f"{_span(r)} has {offsets} offsets, and rows, quarantined and holes make {told}"
            yield _offsets(names, r.generation_id, r.partition, problem)
    sums = (sum(r.range_rows for r in ranges), sum(r.range_quarantined for r in ranges), holes)
    if sums != (segment.rows, segment.quarantined, segment.holes):
        told = f"{segment.rows}, {segment.quarantined} and {segment.holes}"
        yield _counts(names, segment, f"its ranges have rows, quarantined, holes {sums}, and it says {told}")
    if segment.messages != segment.rows + segment.quarantined:
        yield _counts(names, segment, f"{segment.messages} messages are not rows and quarantined together")


def _span(r: Row[Any]) -> str:
    return f"the range [{r.start_offset}, {r.end_offset})"


def _offsets(names: dict[int, str], generation: int, partition: int, problem: str) -> Finding:
    where = f"{names.get(generation, 'a topic that is not there')}, partition {partition}"
    return Finding("offsets", where, problem, RESTORE_LEDGER)


def _counts(names: dict[int, str], segment: Row[Any], problem: str) -> Finding:
    topic = names.get(segment.generation_id, "a topic that is not there")
    return Finding("counts", f"{topic}, plan {segment.plan} part {segment.part}", problem, RESTORE_LEDGER)
