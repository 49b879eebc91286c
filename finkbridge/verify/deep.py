"""The deep comparison: the archive decoded anew, and every field of the tables compared with it.

Night by night: the rows of both tables are paired by message, then each row group of packets is compared with
what its messages decode to, and with it the rows of deliveries. So every message is decoded once, and memory
is bounded by a row group, whatever merging has mixed. At the end, every message of the archive must have been
met: what was not is missing from the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from sqlalchemy import Row

from finkbridge.avro.quarantine import read_quarantine
from finkbridge.errors import DecodeError
from finkbridge.ledger import Ledger
from finkbridge.verify.archives import ArchiveIndex, Archives
from finkbridge.verify.compare import Batch, Comparer
from finkbridge.verify.findings import REBUILD, RESTORE, Finding, Scope
from finkbridge.verify.keys import (
    Codes,
    Ints,
    TableKeys,
    batches,
    pair,
    read_keys,
    source_name,
    topic_of,
)
from finkbridge.verify.listed import select_scope
from finkbridge.verify.report import Report, Watcher

BATCH_BYTES = 24_000_000
"""Bytes of messages that are decoded at once."""

Found = Iterator[Finding | str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare."""

    scope: Scope
    sample: int | None
    """Messages of each archive file that fastavro decodes too; None is all."""
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
    scope, damaged, selection = asked.scope, asked.damaged, select_scope(ledger, asked.scope)
    alive = ledger.alive_files()  # read at once: a merge may commit meanwhile
    files = [f for f in alive if selection.has(f)]
    archives = {f.path: f for f in alive if f.table == "archive"}
    wanted = [f for f in files if f.table == "archive" and f.path not in damaged]
    watcher.begin("deep", sum(f.bytes for f in wanted))
    deep = _Deep(Archives(ledger.lake, archives), scope, Comparer(ledger, asked.sample), report, watcher)
    deep.broken |= damaged
    tables = sorted((f for f in files if f.night is not None), key=lambda f: (f.survey, f.night))
    for (survey, night), mine in groupby(tables, lambda f: (f.survey, f.night)):
        for found in deep.night(survey, night, list(mine), damaged):
            report.add(found)
    for file in wanted:
        for found in deep.unmet(file):
            report.add(found)
    quarantined = [f for f in files if f.table == "quarantine" and f.path not in damaged]
    for finding in _quarantines(ledger, quarantined):
        report.add(finding)


@dataclass(slots=True)
class _Deep:
    archives: Archives
    scope: Scope
    comparer: Comparer
    report: Report
    watcher: Watcher
    met: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """For each archive file, which of its messages have been met in a night."""
    told: set[tuple[str, int, int]] = field(default_factory=set)
    """Source, partition and offset of messages that a finding has named already."""
    broken: set[str] = field(default_factory=set)
    """Archive files that a finding has named already: they are not read."""
    is_whole: bool = True
    """Whether all nights could be read, so that what was not met is missing."""

    def night(self, survey: str, night: int, files: Sequence[Row[Any]], damaged: set[str]) -> Found:
        """Compare all rows of one night, if all of its files can be read."""
        if any(file.path in damaged for file in files):
            self.is_whole = False
            yield f"night {night} of {survey} was not compared, as files of it are damaged"
            return
        try:
            yield from self._night(night, files)
        except FileNotFoundError:
            self.is_whole = False
            yield f"night {night} of {survey}: its files were replaced meanwhile; verify it again"

    def _night(self, night: int, files: Sequence[Row[Any]]) -> Found:
        sources, paths = Codes(), Codes()
        lake = self.archives.lake
        deliveries, packets = (
            read_keys(lake, [f for f in files if f.table == table], sources, paths)
            for table in ("deliveries", "packets")
        )
        wanted = np.array([self.scope.has_topic(topic_of(name)) for name in sources.names], np.bool_)
        pairs = pair(deliveries, packets, wanted)
        for source, partition, offset, *counts in pairs.odd:
            self.told.add((sources.names[source], partition, offset))
            where = f"night {night}, {topic_of(sources.names[source])}:{partition}:{offset}"
            told = f"has {counts[0]} rows in deliveries and {counts[1]} in packets, and one of each is due"
            yield Finding("row", where, told, REBUILD)
        table = _Night(night, deliveries, packets, sources, paths)
        for number, file in enumerate(packets.files):
            yield from self._packets(table, number, file, pairs.partner)

    def _packets(self, night: _Night, number: int, file: Row[Any], partner: Ints) -> Found:
        """Compare one file of packets, row group after row group."""
        first = int(night.packets.first[number])
        with pq.ParquetFile(self.archives.lake / file.path) as parquet:
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                rows = np.arange(count)[partner[first : first + count] >= 0]
                found = self._locate(night, file, rows + first, partner)
                yield from found.findings
                if len(found.rows):
                    content = parquet.read_row_group(group)
                    sizes = np.array([index.length[m] for index, m in found.messages], np.int64)
                    for some in batches(np.arange(len(found.rows)), sizes, BATCH_BYTES):
                        yield from self._batch(night, file, content, found, some, first)
                first += count

    def _batch(
        self, night: _Night, file: Row[Any], content: Any, found: _Located, some: Ints, first: int
    ) -> Found:
        rows = found.rows[some]
        messages = [found.messages[i] for i in some]
        partners = found.partners[some]
        batch = Batch(night.number, file, content, rows - first, night.deliveries, partners, messages)
        yield from self.comparer.compare(batch, self.archives)
        for index, message in messages:
            self._met(index)[message] = True
        self.report.compared_rows += len(rows)
        self.report.sampled_rows = self.comparer.sampled
        self.watcher.advance(sum(int(index.length[m]) for index, m in messages))

    def _locate(self, night: _Night, file: Row[Any], rows: Ints, partner: Ints) -> _Located:
        """Find the message of each row in the archive, by what its delivery says."""
        partners = partner[rows]
        found = _Located(np.empty(0, np.int64), np.empty(0, np.int64), [], [])
        codes = night.deliveries.archive[partners]
        number = np.full(len(rows), -1, np.int64)
        indexes: dict[int, ArchiveIndex | None] = {}
        for code in np.unique(codes):
            index = indexes[int(code)] = self._open(night.paths.names[code], found.findings)
            if index is None:
                continue
            mine = codes == code
            at = index.at(night.deliveries.position[partners[mine]])
            source = source_name(index.source)
            names = np.array([name == source for name in night.sources.names], np.bool_)
            is_it = (
                (at >= 0)
                & (index.partition[at] == night.packets.partition[rows[mine]])
                & (index.offset[at] == night.packets.offset[rows[mine]])
                & names[night.packets.source[rows[mine]]]
            )
            number[mine] = np.where(is_it, at, -1)
        good = number >= 0
        for row in np.flatnonzero(~good):
            if indexes[int(codes[row])] is not None:
                found.findings.append(self._not_in_archive(night, file, int(rows[row])))
        found.rows, found.partners = rows[good], partners[good]
        for code, message in zip(codes[good], number[good], strict=True):
            index = indexes[int(code)]
            if index is not None:
                found.messages.append((index, int(message)))
        return found

    def _not_in_archive(self, night: _Night, file: Row[Any], row: int) -> Finding:
        keys = night.packets
        name, partition, offset = (
            night.sources.names[keys.source[row]],
            int(keys.partition[row]),
            int(keys.offset[row]),
        )
        self.told.add((name, partition, offset))
        told = f"{topic_of(name)}:{partition}:{offset} is not in the archive where its delivery says"
        return Finding("row", file.path, told, REBUILD)

    def _open(self, path: str, findings: list[Finding]) -> ArchiveIndex | None:
        if path not in self.archives.files or path in self.broken:
            if path not in self.broken:
                self.broken.add(path)
                problem = f"rows have their messages in {path!r}, which is no archive file of the lake"
                findings.append(Finding("row", "deliveries", problem, REBUILD))
            return None
        try:
            return self.archives.index(path)
        except DecodeError as error:
            self.broken.add(path)
            findings.append(Finding("row", path, str(error), RESTORE))
            return None

    def _met(self, index: ArchiveIndex) -> npt.NDArray[np.bool_]:
        if index.path not in self.met:
            self.met[index.path] = np.zeros(index.messages, np.bool_)
        return self.met[index.path]

    def unmet(self, file: Row[Any]) -> Found:
        """Tell which messages of an archive file are in no row."""
        findings: list[Finding] = []
        index = self._open(file.path, findings) if self.is_whole and file.path not in self.broken else None
        yield from findings
        if index is None:
            return
        left = np.flatnonzero(~self._met(index))
        name = source_name(index.source)
        known = [(name, int(index.partition[m]), int(index.offset[m])) in self.told for m in left]
        left = left[~np.array(known, np.bool_)]
        if len(left) and self.scope.nights:
            left = left[[self.scope.has_night(n) for n in self.comparer.nights(index, left, self.archives)]]
        if len(left):
            first = f"{index.source.topic}:{index.partition[left[0]]}:{index.offset[left[0]]}"
            told = f"{len(left)} of its {index.messages} messages have no row, the first is {first}"
            yield Finding("row", file.path, told, REBUILD)


@dataclass(frozen=True, slots=True, eq=False)
class _Night:
    """The rows of one night."""

    number: int
    deliveries: TableKeys
    packets: TableKeys
    sources: Codes
    paths: Codes


@dataclass(slots=True, eq=False)
class _Located:
    """Rows of packets with their rows of deliveries and their messages."""

    rows: Ints
    partners: Ints
    messages: list[tuple[ArchiveIndex, int]]
    findings: list[Finding]


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
