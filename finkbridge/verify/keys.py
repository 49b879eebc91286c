"""Which row of ``deliveries`` and which of ``packets`` are of the same message, for one night at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge.values import TopicGeneration
from finkbridge.verify.reading import reading

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
_KEYS = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")
_PLACE = ["archive_file", "archive_pos"]
_KINDS = (np.int32, np.int32, np.int64, np.int32, np.int64)
"""Of source, partition, offset, archive file and position: a night has millions of each."""
_TEXTS = ("cluster", "topic", "archive_file")
ROWS = 100_000
"""Whose keys are read at once."""


@dataclass(slots=True)
class Codes:
    """Numbers for names that come again and again."""

    names: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def encode(self, *columns: pa.Array) -> Numbers:
        """Return the number of each row's name: its columns as text, null as the empty one, joined by NUL."""
        codes, names = np.zeros(len(columns[0]), np.int64), [""]
        for at, column in enumerate(columns):
            encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            texts = [*("" if v is None else str(v) for v in encoded.dictionary.to_pylist()), ""]
            mine = encoded.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
            pairs, codes = np.unique(codes * len(texts) + mine, return_inverse=True)
            joint = "\0" if at else ""
            names = [
                f"{names[pair // len(texts)]}{joint}{texts[pair % len(texts)]}" for pair in pairs.tolist()
            ]
        return np.array([self._number(name) for name in names], np.int32)[codes]

    def _number(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = len(self.names)
            self.names.append(name)
        return self._known[name]


@dataclass(frozen=True, slots=True, eq=False)
class TableKeys:
    """The keys of all rows of one table of a night, file after file."""

    files: Sequence[Row[Any]]
    first: Ints
    """Number of the first row of each file."""
    source: Numbers
    """Number of cluster, topic and generation."""
    partition: Numbers
    offset: Ints
    archive: Numbers
    """Number of the archive file; deliveries only."""
    position: Ints
    """Byte in it; deliveries only."""

    def place(self, row: int) -> tuple[Row[Any], int]:
        """Return the file that has a row, and the row's number in it."""
        number = int(np.searchsorted(self.first, row, side="right")) - 1
        return self.files[number], row - int(self.first[number])


def read_keys(lake: Path, files: Sequence[Row[Any]], sources: Codes, archives: Codes) -> TableKeys:
    """Read the key columns of a table's files, some at a time: as texts, names take 200 bytes a row."""
    prefix = "_" if files and files[0].table == "packets" else ""
    names = [f"{prefix}{key}" for key in _KEYS] + ([] if prefix else _PLACE)
    counts, pieces = [], [[np.empty(0, kind)] for kind in _KINDS]
    for file in files:
        texts = [name for name in names if name.endswith(_TEXTS)]
        with reading(file.path), pq.ParquetFile(lake / file.path, read_dictionary=texts) as parquet:
            counts.append(parquet.metadata.num_rows)
            for batch in parquet.iter_batches(ROWS, columns=names):
                column = {name.removeprefix("_"): batch.column(name) for name in names}
                read = [
                    sources.encode(*(column[key] for key in _KEYS[:3])),
                    _ints(column["kafka_partition"], np.int32),
                    _ints(column["kafka_offset"], np.int64),
                ]
                if not prefix:
                    read += [archives.encode(column["archive_file"]), _ints(column["archive_pos"], np.int64)]
                for all_, one in zip(pieces, read, strict=False):
                    all_.append(one)
    first = np.cumsum(counts, dtype=np.int64) - np.array(counts, np.int64)
    return TableKeys(files, first, *(np.concatenate(all_) for all_ in pieces))


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
    partner, odd = np.full(len(packets.source), -1, np.int64), []
    for source in np.flatnonzero(wanted).tolist():
        both = [np.unique(t.partition[t.source == source]) for t in (deliveries, packets)]
        for partition in np.unique(np.concatenate(both)).tolist():
            # each by itself: to sort all rows of a night at once takes more memory than all else
            rows, others = (_rows_of(table, source, partition) for table in (deliveries, packets))
            partner[others], wrong = _pair(deliveries.offset, rows, packets.offset, others)
            odd += [(source, partition, *one) for one in wrong]
    return Pairs(partner, odd)


def _rows_of(table: TableKeys, source: int, partition: int) -> Ints:
    return np.flatnonzero((table.source == source) & (table.partition == partition))


def _pair(
    of_deliveries: Ints, rows: Ints, of_packets: Ints, others: Ints
) -> tuple[Ints, list[tuple[int, int, int]]]:
    """Match the rows of one partition by offset.

    Returns
    -------
    partner
        Of each of the others, its row of deliveries; -1 where there is not exactly one of each.
    odd
        Offset, rows in deliveries and rows in packets, where they are not one and one.
    """
    offset = np.concatenate((of_deliveries[rows], of_packets[others]))
    order = np.argsort(offset, kind="stable")
    offset = offset[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = offset[1:] != offset[:-1]
    group, is_packet = np.cumsum(new, dtype=np.int32) - 1, order >= len(rows)
    groups = int(group[-1]) + 1 if len(group) else 0
    in_deliveries = np.bincount(group[~is_packet], minlength=groups)
    in_packets = np.bincount(group[is_packet], minlength=groups)
    good = (in_deliveries == 1) & (in_packets == 1)
    of_group = np.full(groups, -1, np.int64)
    of_group[group[~is_packet]] = rows[order[~is_packet]]
    partner = np.full(len(others), -1, np.int64)
    mine = group[is_packet]
    partner[order[is_packet] - len(rows)] = np.where(good[mine], of_group[mine], -1)
    firsts = offset[new]
    odd = [(int(firsts[g]), int(in_deliveries[g]), int(in_packets[g])) for g in np.flatnonzero(~good)]
    return partner, odd


def batches(count: int, sizes: Ints, most_bytes: int) -> Iterator[slice]:
    """Cut rows, in order, into batches of at most so many bytes, or of one row."""
    at, ends = 0, np.cumsum(sizes)
    while at < count:
        done = int(ends[at - 1]) if at else 0
        stop = max(at + 1, int(np.searchsorted(ends, done + most_bytes, side="right")))
        yield slice(at, stop)
        at = stop


def _ints(column: pa.Array, kind: type[np.signedinteger[Any]]) -> npt.NDArray[Any]:
    filled: Ints = column.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return filled.astype(kind)
