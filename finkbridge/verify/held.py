"""What a file that no commit lists holds, and whether all of it is committed in others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from finkbridge.avro.archive import read_archive
from finkbridge.avro.quarantine import read_quarantine_facts
from finkbridge.disk import require_file
from finkbridge.errors import DecodeError
from finkbridge.layout import DataPath
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.values import OffsetRange, TopicGeneration

_Spans = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Starts and ends of committed ranges, joined where they follow each other."""
_SOURCE = ("cluster", "topic", "generation", "kafka_partition")


class Held:
    """Reads files that no commit lists. What cannot be read holds what is not committed."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spans = cache(self._read_spans)

    def planned(self, path: str) -> list[OffsetRange] | None:
        """Return the ranges of the plan that an archive or quarantine file is of; None if it does not say."""
        try:
            planned = _facts(self._ledger.lake / path)["planned"]
            return sorted(OffsetRange(*r) for r in planned)
        except (DecodeError, OSError, KeyError, TypeError, ValueError):
            return None

    def is_committed(self, path: str, named: DataPath) -> bool:
        """Whether each message of a file is in a committed segment of its life of a topic."""
        where = self._ledger.lake / path
        try:
            require_file(where)
            if named.table in {"deliveries", "packets"}:
                return self._has_all(_offsets_of_table(where))
            return self._has_all(_offsets_of_part(where))
        except (DecodeError, OSError, KeyError, TypeError, ValueError, pa.ArrowException):
            return False

    def _has_all(self, found: Iterator[tuple[TopicGeneration, int, Any, Any]]) -> bool:
        return all(self._has(source, p, starts, ends) for source, p, starts, ends in found)

    def _has(self, source: TopicGeneration, partition: int, starts: Any, ends: Any) -> bool:
        firsts, lasts = self._spans(source, partition)
        if not len(firsts):
            return False
        at = np.searchsorted(firsts, starts, side="right") - 1
        return bool(((at >= 0) & (ends <= lasts[at])).all())

    def _read_spans(self, source: TopicGeneration, partition: int) -> _Spans:
        r, g = s.segment_ranges.c, s.generations.c
        query = (
            select(r.start_offset, r.end_offset)
            .select_from(s.segment_ranges.join(s.segments).join(s.generations))
            .where(g.cluster == source.cluster, g.topic == source.topic, g.generation == source.generation)
            .where(r.partition == partition)
            .order_by(r.start_offset)
        )
        spans: list[list[int]] = []
        with self._ledger.reading() as connection:
            for start, end in connection.execute(query):
                if spans and spans[-1][1] == start:
                    spans[-1][1] = end
                else:
                    spans.append([start, end])
        starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
        return starts, ends


def _facts(path: Path) -> dict[str, Any]:
    return read_quarantine_facts(path)  # the headers of archive files have them under the same name


def _offsets_of_part(path: Path) -> Iterator[tuple[TopicGeneration, int, Any, Any]]:
    facts = _facts(path)
    source = TopicGeneration(facts["cluster"], facts["topic"], facts["generation"])
    ranges = [OffsetRange(*r) for r in facts["ranges"]]
    if "requeued" in facts:
        ranges = [OffsetRange(m.partition, m.offset, m.offset + 1) for m in read_archive(path).messages]
    if not ranges:
        raise ValueError(f"{path} does not say what it holds")
    for r in ranges:
        yield source, r.partition, np.array([r.start]), np.array([r.end])


def _offsets_of_table(path: Path) -> Iterator[tuple[TopicGeneration, int, Any, Any]]:
    with pq.ParquetFile(path) as file:
        names = {name.removeprefix("_"): name for name in file.schema_arrow.names}
        table = file.read([names[name] for name in (*_SOURCE, "kafka_offset")])
    table = table.rename_columns([*_SOURCE, "kafka_offset"])
    for row in table.group_by(list(_SOURCE)).aggregate([("kafka_offset", "list")]).to_pylist():
        offsets = np.array(row["kafka_offset_list"], np.int64)
        source = TopicGeneration(row["cluster"], row["topic"], row["generation"])
        yield source, row["kafka_partition"], offsets, offsets + 1
