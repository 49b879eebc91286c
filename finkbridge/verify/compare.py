"""One batch of rows against what their messages decode to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge import surveys, tables
from finkbridge.avro.joined import total_bytes
from finkbridge.avro.machine import MAX_UNFOLDED_BYTES
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger
from finkbridge.surveys.times import night_of_timestamp_ms
from finkbridge.verify.archives import BATCH_BYTES, ArchiveIndex, Archives, Decoders, datums
from finkbridge.verify.findings import REBUILD, RESTORE, Finding
from finkbridge.verify.keys import Ints, TableKeys, batches
from finkbridge.verify.reading import reading
from finkbridge.verify.same import differing_rows, same, whole
from finkbridge.verify.sample import Sample

BUG = "report it as a bug: the archive has the messages as they came, and --deep --independent tells all rows"
KEPT_BYTES = 128_000_000
"""Of row groups of deliveries that are kept decoded: merged files are in one order, so few are needed."""

Messages = Sequence[tuple[ArchiveIndex, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows of a row group of packets, their rows of deliveries, and their messages, in one order."""

    night: int
    file: Row[Any]
    packets: Future[pa.Table]
    """The whole row group, once it is read."""
    places: tuple[Ints, Ints]
    """Rows of that row group, and of deliveries."""
    keys: TableKeys
    """Of the night's deliveries."""
    messages: Messages


@dataclass(frozen=True, slots=True, eq=False)
class _Expected:
    """What messages of one schema decode to, and what follows from it."""

    alerts: pa.Table
    description: surveys.Description
    night: npt.NDArray[np.int32]
    is_independent: bool
    """Whether an engine that no drain decodes by made the alerts."""


@dataclass(slots=True)
class Counts:
    """What was done so far."""

    compared: int = 0
    """Messages that were compared."""
    bytes: int = 0
    """Of their datums."""
    independent: int = 0
    """Those of them that were decoded by an engine that no drain decodes by."""
    sampled: int = 0
    """Those of them that fastavro has decoded too."""


class Comparer:
    """Decodes, compares, and keeps what is costly to make; several threads may use it.

    Parameters
    ----------
    ledger
        Of the lake.
    sample
        Messages of each archive file that fastavro decodes too.
    independent
        Whether all are decoded by an engine that shares no code with drains.
    """

    def __init__(self, ledger: Ledger, sample: Sample, *, independent: bool) -> None:
        self._decoders = Decoders(independent=independent)
        self._engine = "DataFusion" if independent else "the decoder of drains"
        self._groups = _RowGroups(ledger.lake)
        self._sample = sample
        self._lock = Lock()
        self._chosen: dict[str, npt.NDArray[np.bool_]] = {}
        self.counts = Counts()

    def compare(self, batch: Batch, archives: Archives) -> Iterator[Finding]:
        """Yield what differs in a batch, one finding a column."""
        schemas = [(index.schema.fingerprint, index.framing, index.survey) for index, _ in batch.messages]
        for schema in dict.fromkeys(schemas):
            mine = np.flatnonzero([other == schema for other in schemas])
            try:
                yield from self._compare(batch, mine, archives)
            except DecodeError as error:
                path = batch.messages[mine[0]][0].path
                yield Finding("row", path, f"messages cannot be decoded: {error}", RESTORE)

    def nights(self, index: ArchiveIndex, messages: Ints, archives: Archives) -> list[int]:
        """Return the nights of some messages of an archive file."""
        found: list[int] = []
        for mine in batches(len(messages), index.sizes[messages], BATCH_BYTES):
            some = [(index, int(m)) for m in messages[mine]]
            values = _datums(some, archives)
            for piece in self._pieces(index, values):
                found += self._expect(some[piece], values[piece]).night.tolist()
        return found

    def _compare(self, batch: Batch, mine: Ints, archives: Archives) -> Iterator[Finding]:
        values = _datums([batch.messages[i] for i in mine], archives)
        for piece in self._pieces(batch.messages[mine[0]][0], values):
            yield from self._compare_piece(batch, mine[piece], values[piece])

    def _pieces(self, index: ArchiveIndex, values: Sequence[bytes]) -> Iterator[slice]:
        """Check datums of one schema, and yield as many as fit in memory as columns: nearly always all."""
        yield from batches(len(values), self._decoders.check(index.schema, values), MAX_UNFOLDED_BYTES)

    def _compare_piece(self, batch: Batch, mine: Ints, values: Sequence[bytes]) -> Iterator[Finding]:
        messages = [batch.messages[i] for i in mine]
        expected = self._expect(messages, values)
        told = _Told(batch.file, messages)
        yield from self._check_engines(told, values, expected)
        wrong_night = np.flatnonzero(expected.night != batch.night)
        if len(wrong_night):
            due = int(expected.night[wrong_night[0]])
            yield told.finding(wrong_night, f"in night {batch.night}, where one is due in {due}")
        if expected.description.rejected:
            rows = np.array(list(expected.description.rejected), np.int64)
            yield told.finding(rows, "should be in quarantine, as they have no identity, place or time")
        description, places = expected.description, _places(messages)
        due = tables.packets_of(expected.alerts, description, places)
        yield from _differences(_take(batch.packets.result(), batch.places[0][mine]), due, told)
        actual = self._groups.take(batch.keys, batch.places[1][mine])
        yield from _differences(actual, tables.deliveries_of(description, places), told, "deliveries ")
        with self._lock:
            self.counts.compared += len(values)
            self.counts.bytes += total_bytes(values)
            self.counts.independent += len(values) * expected.is_independent

    def _expect(self, messages: Messages, values: Sequence[bytes]) -> _Expected:
        index = messages[0][0]
        alerts, is_independent = self._decoders.bulk(index.schema, index.survey, values)
        description = surveys.describe(alerts, index.survey)
        times = np.array([index.origin.timestamp_ms[m] for index, m in messages], np.int64)
        night = night_of_timestamp_ms(times) if index.survey == "other" else description.night
        return _Expected(alerts, description, night, is_independent)

    def _check_engines(self, told: _Told, values: Sequence[bytes], expected: _Expected) -> Iterator[Finding]:
        """Decode a sample by fastavro too: it is the reference."""
        rows = np.flatnonzero([self._is_chosen(index)[m] for index, m in told.messages])
        if not len(rows):
            return
        index = told.messages[0][0]
        reference = self._decoders.reference(index.schema, index.survey, [values[int(row)] for row in rows])
        with self._lock:
            self.counts.sampled += len(rows)
        bulk = _take(expected.alerts, rows)
        for name in reference.column_names:
            differing = np.fromiter(differing_rows(whole(bulk[name]), whole(reference[name])), np.int64)
            if len(differing):
                problem = f"of which {self._engine} and fastavro do not agree about the column {name}"
                yield told.finding(rows[differing], problem, BUG)

    def _is_chosen(self, index: ArchiveIndex) -> npt.NDArray[np.bool_]:
        if index.path not in self._chosen:
            self._chosen[index.path] = index.sample(self._sample)
        return self._chosen[index.path]


@dataclass(frozen=True, slots=True)
class _Told:
    """Makes findings about rows of a batch."""

    file: Row[Any]
    messages: Messages

    def finding(self, rows: Ints, problem: str, remedy: str = REBUILD) -> Finding:
        """Return one finding about some rows, with the first of them named."""
        index, m = self.messages[rows[0]]
        first = f"{index.source.topic}:{index.origin.partition[m]}:{index.origin.offset[m]}"
        count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
        return Finding("row", self.file.path, f"{count}, the first is {first}, {problem}", remedy)


class _RowGroups:
    """Rows of deliveries by number, of whatever files."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._kept: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._starts: OrderedDict[str, Ints] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def take(self, keys: TableKeys, rows: Ints) -> pa.Table:
        """Return some rows of a night's deliveries, in the order asked for."""
        with self._lock:
            return self._take(keys, rows)

    def _take(self, keys: TableKeys, rows: Ints) -> pa.Table:
        order = np.argsort(rows, kind="stable")
        pieces, at = [], 0
        asked = rows[order]
        while at < len(asked):
            file, row = keys.place(int(asked[at]))
            starts = self._groups_of(file.path)
            group = int(np.searchsorted(starts, row, side="right")) - 1
            first = int(asked[at]) - row + int(starts[group])
            stop = int(np.searchsorted(asked, first + int(starts[group + 1] - starts[group])))
            pieces.append(self._group(file.path, group).take(pa.array(asked[at:stop] - first)))
            at = stop
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(pieces, promote_options="permissive").take(pa.array(back))

    def _groups_of(self, path: str) -> Ints:
        """Return the first row of each row group of a file, and one behind its last."""
        if path not in self._starts:
            with reading(path):
                metadata = pq.read_metadata(self._lake / path)
            counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._starts[path] = np.cumsum([0, *counts]).astype(np.int64)
        return self._starts[path]

    def _group(self, path: str, number: int) -> pa.Table:
        key = (path, number)
        if key not in self._kept:
            with reading(path), pq.ParquetFile(self._lake / path) as file:
                self._kept[key] = file.read_row_group(number)
            self._bytes += self._kept[key].nbytes
        self._kept.move_to_end(key)
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return self._kept[key]


def _datums(messages: Messages, archives: Archives) -> Sequence[bytes]:
    """Return the datums of messages of one framing, in their order; those of one file as they lie in it."""
    first, framing = messages[0][0], messages[0][0].framing
    if all(index is first for index, _ in messages):
        return datums(framing, archives.values(first, np.array([m for _, m in messages], np.int64)))
    values: list[bytes] = [b""] * len(messages)
    for index in dict.fromkeys(index for index, _ in messages):
        mine = [i for i, (other, _) in enumerate(messages) if other is index]
        numbers = np.array([messages[i][1] for i in mine], np.int64)
        for i, value in zip(mine, archives.values(index, numbers), strict=True):
            values[i] = value
    return datums(framing, values)


def _places(messages: Messages) -> pa.Table:
    """Return where messages come from and where they lie, in their order."""
    pieces, order = [], []
    for index in dict.fromkeys(index for index, _ in messages):
        mine = [i for i, (other, _) in enumerate(messages) if other is index]
        numbers = np.array([messages[i][1] for i in mine], np.int64)
        pieces.append(tables.places_of(index.origin.take(numbers)))
        order += mine
    return pa.concat_tables(pieces).take(pa.array(np.argsort(order)))


def _differences(actual: pa.Table, due: pa.Table, told: _Told, table: str = "") -> Iterator[Finding]:
    names = set(due.column_names)
    if strange := sorted(set(actual.column_names) ^ names):
        problem = f"{table}columns that are not those of the schema: {', '.join(strange[:5])}"
        yield Finding("row", told.file.path, problem, REBUILD)
    for number, name in enumerate(actual.column_names):
        if name not in names:
            continue
        column, right = whole(actual[number]), whole(due[name])
        if same(column, right):
            continue
        if len(rows := np.fromiter(differing_rows(column, right), np.int64)):
            yield told.finding(rows, f"{table}column {name} is not what the archive says")


def _take(table: pa.Table, rows: Ints) -> pa.Table:
    """Return some rows; those in a row are not copied."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and bool((np.diff(rows) == 1).all()):
        return table.slice(int(rows[0]), len(rows))
    return table.take(pa.array(rows))
