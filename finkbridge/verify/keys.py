"""Which row of ``deliveries`` and which of ``packets`` are of the same message, for one night at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge.values import TopicGeneration

Ints = npt.NDArray[np.int64]
_KEYS = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")


@dataclass(slots=True)
class Codes:
    """Numbers for texts that come again and again."""

    names: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def encode(self, texts: pa.ChunkedArray) -> Ints:
        """Return the number of each text; null is the empty one."""
        if len(texts) == 0:
            return np.empty(0, np.int64)
        encoded = texts.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
        numbers = [self._number(text) for text in encoded.dictionary.to_pylist()]
        codes: Ints = np.array(numbers, np.int64)[encoded.indices.to_numpy()]
        return codes

    def _number(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self.names)
            self.names.append(text)
        return self._known[text]


@dataclass(frozen=True, slots=True, eq=False)
class TableKeys:
    """The keys of all rows of one table of a night, file after file."""

    files: Sequence[Row[Any]]
    first: Ints
    """Number of the first row of each file."""
    source: Ints
    """Number of cluster, topic and generation."""
    partition: Ints
    offset: Ints
    archive: Ints
    """Number of the archive file; deliveries only."""
    position: Ints
    """Byte in it; deliveries only."""

    def place(self, row: int) -> tuple[Row[Any], int]:
        """Return the file that has a row, and the row's number in it."""
        number = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.files[number], row - int(self.first[number])


def read_keys(lake: Path, files: Sequence[Row[Any]], sources: Codes, archives: Codes) -> TableKeys:
    """Read the key columns of a table's files."""
    prefix = "_" if files and files[0].table == "packets" else ""
    names = [f"{prefix}{key}" for key in _KEYS] + ([] if prefix else ["archive_file", "archive_pos"])
    tables = [
        pq.ParquetFile(lake / file.path).read(columns=names).rename_columns(_plain(names)) for file in files
    ]
    rows = np.array([table.num_rows for table in tables], np.int64)
    empty = pa.table({name: pa.array([], pa.int64()) for name in _plain(names)})
    table = pa.concat_tables(tables) if tables else empty
    who = [table[key].cast(pa.string()).fill_null("") for key in _KEYS[:3]]
    has_archive = "archive_file" in table.column_names
    return TableKeys(
        files,
        np.cumsum(rows) - rows,
        sources.encode(pc.binary_join_element_wise(*who, "\0") if tables else table[_KEYS[0]]),
        _ints(table["kafka_partition"]),
        _ints(table["kafka_offset"]),
        archives.encode(table["archive_file"]) if has_archive else np.empty(0, np.int64),
        _ints(table["archive_pos"]) if has_archive else np.empty(0, np.int64),
    )


def source_name(source: TopicGeneration) -> str:
    """Return how a source is named here."""
    return f"{source.cluster}\0{source.topic}\0{source.generation}"


def topic_of(name: str) -> str:
    """Return the topic of a source's name."""
    return name.split("\0")[1]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """How the rows of a night's tables belong together."""

    partner: Ints
    """For each row of packets, its row of deliveries; -1 where there is not exactly one of each."""
    odd: Sequence[tuple[int, int, int, int, int]]
    """Source, partition, offset, rows in deliveries, rows in packets: where they are not one and one."""


def pair(deliveries: TableKeys, packets: TableKeys, wanted: npt.NDArray[np.bool_]) -> Pairs:
    """Match the rows of two tables by message; of sources that are not wanted, nothing is said."""
    source = np.concatenate((deliveries.source, packets.source))
    partition = np.concatenate((deliveries.partition, packets.partition))
    offset = np.concatenate((deliveries.offset, packets.offset))
    count = len(deliveries.source)
    order = np.lexsort((offset, partition, source))
    order = order[wanted[source[order]]] if len(wanted) else order
    s, p, o = source[order], partition[order], offset[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (s[1:] != s[:-1]) | (p[1:] != p[:-1]) | (o[1:] != o[:-1])
    group, is_packet = np.cumsum(new) - 1, order >= count
    groups = int(group[-1]) + 1 if len(group) else 0
    in_deliveries = np.bincount(group[~is_packet], minlength=groups)
    in_packets = np.bincount(group[is_packet], minlength=groups)
    good = (in_deliveries == 1) & (in_packets == 1)
    of_group = np.full(groups, -1, np.int64)
    of_group[group[~is_packet]] = order[~is_packet]
    partner = np.full(len(packets.source), -1, np.int64)
    mine = group[is_packet]
    partner[order[is_packet] - count] = np.where(good[mine], of_group[mine], -1)
    heads = np.flatnonzero(new)
    odd = [
        (int(s[h]), int(p[h]), int(o[h]), int(in_deliveries[g]), int(in_packets[g]))
        for g in np.flatnonzero(~good)
        for h in (heads[g],)
    ]
    return Pairs(partner, odd)


def batches(count: int, sizes: Ints, most_bytes: int) -> Iterator[slice]:
    """Cut rows, in order, into batches of at most so many bytes, or of one row."""
    at, ends = 0, np.cumsum(sizes)
    while at < count:
        done = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, done + most_bytes, side="right")))
        yield slice(at, stop)
        at = stop


def _plain(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("_") for name in names]


def _ints(column: pa.ChunkedArray) -> Ints:
    filled = column.cast(pa.int64()).fill_null(-1)
    return np.asarray(filled.to_numpy(), np.int64)
