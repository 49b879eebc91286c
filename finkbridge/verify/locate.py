"""Which message of the archive each row of a night is of, by what its delivery says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Row

from finkbridge.errors import DecodeError
from finkbridge.verify.archives import ArchiveIndex, Archives
from finkbridge.verify.findings import REBUILD, RESTORE, Finding
from finkbridge.verify.keys import Codes, Ints, TableKeys, source_name, topic_of


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """The keys of all rows of one night."""

    number: int
    deliveries: TableKeys
    packets: TableKeys
    sources: Codes
    paths: Codes
    """Of archive files."""


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Rows of packets with their rows of deliveries and their messages."""

    rows: Ints
    partners: Ints
    messages: list[tuple[ArchiveIndex, int]]
    sizes: Ints
    """Bytes of the messages' datums, unpacked."""


@dataclass(slots=True)
class Locator:
    """Finds messages, and notes rows that have none."""

    archives: Archives
    broken: set[str] = field(default_factory=set)
    """Archive files that a finding has named already: they are not read."""
    told: set[tuple[str, int, int]] = field(default_factory=set)
    """Source, partition and offset of messages that a finding has named already."""
    _findings: list[Finding] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found since the last time."""
        found, self._findings = self._findings, []
        yield from found

    def open(self, path: str) -> ArchiveIndex | None:
        """Return an archive file's index; None, and one finding, where there is none."""
        if path in self.broken:
            return None
        if path not in self.archives.files:
            problem = f"rows have their messages in {path!r}, which is no archive file of the lake"
            self._break(path, Finding("row", "deliveries", problem, REBUILD))
            return None
        try:
            return self.archives.index(path)
        except DecodeError as error:
            self._break(path, Finding("row", path, str(error), RESTORE))
            return None

    def locate(self, night: Night, file: Row[Any], rows: Ints, partners: Ints) -> Located:
        """Find the messages of rows of packets, each with its row of deliveries."""
        codes = night.deliveries.archive[partners]
        number = np.full(len(rows), -1, np.int64)
        indexes: dict[int, ArchiveIndex] = {}
        for code in np.unique(codes).tolist():
            if (index := self.open(night.paths.names[code])) is not None:
                indexes[code] = index
                mine = codes == code
                number[mine] = _numbers(night, index, rows[mine], partners[mine])
        for row in rows[(number < 0) & np.isin(codes, list(indexes))].tolist():
            self._note_lost(night, file, row)
        good = number >= 0
        pairs = zip(codes[good].tolist(), number[good].tolist(), strict=True)
        messages = [(indexes[code], message) for code, message in pairs]
        sizes = np.array([index.sizes[message] for index, message in messages], np.int64)
        return Located(rows[good], partners[good], messages, sizes)

    def _note_lost(self, night: Night, file: Row[Any], row: int) -> None:
        keys = night.packets
        name = night.sources.names[keys.source[row]]
        partition, offset = int(keys.partition[row]), int(keys.offset[row])
        self.told.add((name, partition, offset))
        problem = f"{topic_of(name)}:{partition}:{offset} is not in the archive where its delivery says"
        self._findings.append(Finding("row", file.path, problem, REBUILD))

    def _break(self, path: str, finding: Finding) -> None:
        self.broken.add(path)
        self._findings.append(finding)


def _numbers(night: Night, index: ArchiveIndex, rows: Ints, partners: Ints) -> Ints:
    """Return which message of a file each row is of; -1 where it is of none."""
    if not index.messages:
        return np.full(len(rows), -1, np.int64)
    at, keys = index.at(night.deliveries.position[partners]), night.packets
    is_source = np.array([name == source_name(index.source) for name in night.sources.names], np.bool_)
    is_it: npt.NDArray[np.bool_] = (
        (at >= 0)
        & (index.origin.partition[at] == keys.partition[rows])
        & (index.origin.offset[at] == keys.offset[rows])
        & is_source[keys.source[rows]]
    )
    return np.where(is_it, at, -1)
