"""The deep comparison: the archive decoded anew, and every field of the tables compared with it.

Night by night: the rows of both tables are paired by message, then each row group of packets is compared with
what its messages decode to, and with it the rows of deliveries. So every message is decoded once, and memory
is bounded by a row group, whatever merging has mixed. At the end, every message of the archive must have been
met: what was not is missing from the tables.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge.avro.quarantine import read_quarantine
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger
from finkbridge.verify.archives import BATCH_BYTES, ArchiveIndex, Archives
from finkbridge.verify.compare import Batch, Comparer
from finkbridge.verify.findings import REBUILD, RESTORE, Finding, Scope
from finkbridge.verify.keys import Codes, Ints, batches, pair, read_keys, source_name, topic_of
from finkbridge.verify.listed import Selection, select_scope
from finkbridge.verify.locate import Locator, Night
from finkbridge.verify.reading import UnreadableError, reading
from finkbridge.verify.report import Report, Watcher
from finkbridge.verify.sample import Sample

THREADS = max(1, min(3, os.cpu_count() or 1))
"""Batches that are compared at once: nearly all of it is native code, and each takes some 150 MB."""

TRIES = 5
"""Of a night whose files are replaced by merging while they are compared."""
REMAKE = f"{RESTORE}, or {REBUILD}"

Found = Iterator[Finding | str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare."""

    scope: Scope
    sample: Sample
    """Messages of each archive file that fastavro decodes too."""
    independent: bool
    """Whether all are decoded by an engine that shares no code with drains."""
    damaged: set[str]
    """Paths that are not as they were written: they are not read."""


def compare(ledger: Ledger, asked: Asked, report: Report, watcher: Watcher) -> None:
    """Compare the tables with the archive; add findings and counts to the report.

    Parameters
    ----------
    ledger
        Of the lake.
    asked
        What to compare.
    report
        Of the verification.
    watcher
        Told of progress.
    """
    damaged, selection = asked.damaged, select_scope(ledger, asked.scope)
    alive = ledger.alive_files()  # read at once: a merge may commit meanwhile
    files = [f for f in alive if selection.has(f)]
    archives = {f.path: f for f in alive if f.table == "archive"}
    wanted = [f for f in files if f.table == "archive" and f.path not in damaged]
    watcher.begin("deep", sum(f.bytes for f in wanted))
    proven = {f.path for f in wanted}
    locator = Locator(Archives(ledger.lake, archives, proven), broken=set(damaged))
    nights = groupby(
        sorted((f for f in files if f.night is not None), key=lambda f: (f.survey, f.night)),
        lambda f: (f.survey, f.night),
    )
    with ThreadPoolExecutor(THREADS, "compare") as threads, ThreadPoolExecutor(1, "read") as reader:
        comparer = Comparer(ledger, asked.sample, independent=asked.independent)
        deep = _Deep(ledger, selection, locator, asked.scope, comparer, report, watcher, threads, reader)
        for (survey, night), mine in nights:
            for found in deep.night(survey, night, list(mine), damaged):
                report.add(found)
        if not deep.is_whole:
            report.add("messages without rows were not looked for, as not all nights were compared")
        for file in wanted:
            for found in deep.unmet(file):
                report.add(found)
    quarantined = [f for f in files if f.table == "quarantine" and f.path not in damaged]
    for finding in _quarantines(ledger, quarantined):
        report.add(finding)


@dataclass(slots=True)
class _Deep:
    ledger: Ledger
    selection: Selection
    locator: Locator
    scope: Scope
    comparer: Comparer
    report: Report
    watcher: Watcher
    threads: Executor
    reader: Executor
    """One thread, which reads a row group of packets while the one before is compared."""
    met: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """For each archive file, which of its messages have been met in a night."""
    is_whole: bool = True
    """Whether all nights could be read, so that what was not met is missing."""

    def night(self, survey: str, night: int, files: Sequence[Row[Any]], damaged: set[str]) -> Found:
        """Compare all rows of one night, if all of its files can be read."""
        if any(file.path in damaged for file in files):
            self.is_whole = False
            yield f"night {night} of {survey} was not compared, as files of it are damaged"
            return
        yield from self._until_still(survey, night, files)

    def _until_still(self, survey: str, night: int, files: Sequence[Row[Any]]) -> Found:
        """Compare one night, again where merging has replaced files of it meanwhile."""
        for _ in range(TRIES):
            before = replace(self.comparer.counts)
            found: list[Finding | str] = []
            try:
                found.extend(self._night(night, files))
            except FileNotFoundError:
                self.comparer.counts = before
                tried = {file.path for file in files}  # of rows in these the next try tells
                yield from (one for one in self.locator.findings() if one.where not in tried)
            except UnreadableError as error:
                self.is_whole = False
                yield from (*found, Finding("file", error.path, str(error), REMAKE))
                return
            else:
                yield from found
                return
            files = self._alive(survey, night)
            if gone := [file.path for file in files if not (self.ledger.lake / file.path).exists()]:
                self.is_whole = False
                yield from (Finding("file", path, "is gone", REMAKE) for path in gone)
                return
        self.is_whole = False
        where = f"night {night} of {survey}"
        yield Finding("rows", where, f"was merged {TRIES} times while it was compared", "verify it again")

    def _alive(self, survey: str, night: int) -> list[Row[Any]]:
        """Return the files of a night as they are by now; what was drained meanwhile is among their rows."""
        alive = [file for file in self.ledger.alive_files() if self.selection.has(file)]
        self.locator.archives.files |= {file.path: file for file in alive if file.table == "archive"}
        return [file for file in alive if (file.survey, file.night) == (survey, night)]

    def _night(self, night: int, files: Sequence[Row[Any]]) -> Found:
        sources, paths = Codes(), Codes()
        lake = self.locator.archives.lake
        deliveries, packets = (
            read_keys(lake, [f for f in files if f.table == table], sources, paths)
            for table in ("deliveries", "packets")
        )
        wanted = np.array([self.scope.has_topic(topic_of(name)) for name in sources.names], np.bool_)
        pairs = pair(deliveries, packets, wanted)
        for source, partition, offset, *counts in pairs.odd:
            self.locator.told.add((sources.names[source], partition, offset))
            where = f"night {night}, {topic_of(sources.names[source])}:{partition}:{offset}"
            told = f"has {counts[0]} rows in deliveries and {counts[1]} in packets, and one of each is due"
            yield Finding("row", where, told, REBUILD)
        table = Night(night, deliveries, packets, sources, paths)
        running: deque[tuple[Future[list[Finding]], Batch]] = deque()
        try:
            for batch in self._batches(table, pairs.partner):
                running.append((self.threads.submit(self._compare, batch), batch))
                if len(running) > THREADS:  # one more, so that no thread waits
                    yield from self._take(*running.popleft())
            while running:
                yield from self._take(*running.popleft())
        finally:
            wait([future for future, _ in running])  # they count what they do
        yield from self.locator.findings()

    def _batches(self, night: Night, partner: Ints) -> Iterator[Batch]:
        """Yield all rows of packets that have one delivery and one message, row group after row group."""
        for file, first in zip(night.packets.files, night.packets.first.tolist(), strict=True):
            with reading(file.path):
                parquet, begin = pq.ParquetFile(self.locator.archives.lake / file.path), first
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                rows = begin + np.flatnonzero(partner[begin : begin + count] >= 0)
                located = self.locator.locate(night, file, rows, partner[rows])
                if len(located.rows):
                    content = self.reader.submit(_read, file.path, parquet, group)
                    for some in batches(len(located.rows), located.sizes, BATCH_BYTES):
                        messages = located.messages[some]
                        places = located.rows[some] - begin, located.partners[some]
                        yield Batch(night.number, file, content, places, night.deliveries, messages)
                begin += count
            self.reader.submit(parquet.close)  # behind all reading

    def _compare(self, batch: Batch) -> list[Finding]:
        return list(self.comparer.compare(batch, self.locator.archives))

    def _take(self, done: Future[list[Finding]], batch: Batch) -> Iterator[Finding]:
        yield from done.result()
        for index, message in batch.messages:
            self._met(index)[message] = True
        report, counts = self.report, self.comparer.counts
        report.compared_rows, report.compared_bytes = counts.compared, counts.bytes
        report.sampled_rows, report.independent_rows = counts.sampled, counts.independent
        self.watcher.advance(sum(int(index.origin.archive_len[m]) for index, m in batch.messages))

    def _met(self, index: ArchiveIndex) -> npt.NDArray[np.bool_]:
        if index.path not in self.met:
            self.met[index.path] = np.zeros(index.messages, np.bool_)
        return self.met[index.path]

    def unmet(self, file: Row[Any]) -> Found:
        """Tell which messages of an archive file are in no row."""
        index = self.locator.open(file.path) if self.is_whole else None
        yield from self.locator.findings()
        if index is None:
            return
        left, origin = np.flatnonzero(~self._met(index)), index.origin
        name = source_name(index.source)
        known = [(name, int(origin.partition[m]), int(origin.offset[m])) in self.locator.told for m in left]
        left = left[~np.array(known, np.bool_)]
        if len(left) and self.scope.nights:
            try:
                nights = self.comparer.nights(index, left, self.locator.archives)
            except DecodeError as error:
                yield Finding("row", file.path, str(error), RESTORE)
                return
            left = left[[self.scope.has_night(night) for night in nights]]
        if len(left):
            first = f"{index.source.topic}:{origin.partition[left[0]]}:{origin.offset[left[0]]}"
            told = f"{len(left)} of its {index.messages} messages have no row, the first is {first}"
            yield Finding("row", file.path, told, REBUILD)


def _read(path: str, parquet: pq.ParquetFile, group: int) -> pa.Table:
    with reading(path):
        return parquet.read_row_group(group)


def _quarantines(ledger: Ledger, files: Sequence[Row[Any]]) -> Iterator[Finding]:
    """Read every quarantined message again; its bytes are proven by the file's own hashes."""
    for file in files:
        try:
            count = len(read_quarantine(ledger.lake / file.path))
        except DecodeError as error:
            yield Finding("row", file.path, str(error), RESTORE)
            continue
        if count != file.rows:
            yield Finding("row", file.path, f"has {count} messages, and {file.rows} are due", RESTORE)
