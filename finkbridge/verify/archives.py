"""The archive as the deep comparison asks it: which message is at a place, and what it decodes to."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Row

from finkbridge import later, surveys
from finkbridge.avro.archive import Archive, read_archive, read_places
from finkbridge.avro.check import REASONS
from finkbridge.avro.decode import Decoder
from finkbridge.avro.joined import Spans
from finkbridge.avro.resolve import Framing, datum_of
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.tools import Tools
from finkbridge.errors import DecodeError
from finkbridge.landing import origin_of
from finkbridge.tables import Origin
from finkbridge.values import TopicGeneration
from finkbridge.verify.sample import Sample

Ints = npt.NDArray[np.int64]

BATCH_BYTES = 24_000_000
"""Of datums, unpacked, that are decoded at once."""

MOST_BETWEEN = 2
"""Times the messages' bytes are read at once with what lies between them; else each is read by itself."""

INDEXED_MESSAGES = 1_000_000
"""Of archive files whose index is kept: some 50 bytes a message."""


@dataclass(frozen=True, slots=True, eq=False)
class ArchiveIndex:
    """Which messages an archive file has, and where."""

    survey: str
    schema: WriterSchema
    framing: Framing
    origin: Origin
    sizes: Ints
    """Bytes of each message's datum, unpacked: a compressed one may be a bomb."""

    @property
    def path(self) -> str:
        """Of the file, from the lake."""
        return self.origin.archive_file

    @property
    def source(self) -> TopicGeneration:
        """Of the messages."""
        return self.origin.source

    @property
    def messages(self) -> int:
        """Number of messages."""
        return self.origin.rows

    def at(self, positions: Ints) -> Ints:
        """Return the numbers of the messages whose values begin at some bytes; -1 where none does."""
        start = self.origin.archive_pos
        found = np.minimum(np.searchsorted(start, positions), max(0, self.messages - 1))
        return np.where(start[found] == positions, found, -1) if self.messages else positions * 0 - 1

    def sample(self, sample: Sample) -> npt.NDArray[np.bool_]:
        """Return which messages make a sample, evenly spaced."""
        chosen = np.zeros(self.messages, np.bool_)
        chosen[np.linspace(0, self.messages - 1, sample.of(self.messages)).astype(np.int64)] = True
        return chosen


class Archives:
    """The archive files that the ledger lists, opened as they are asked for.

    Parameters
    ----------
    lake
        Folder of the lake.
    files
        The ledger's rows of them, by path: nothing else is ever opened, whatever a table's row says.
    proven
        Paths of those whose checksums were found right: their values are not hashed again.
    """

    def __init__(
        self, lake: Path, files: Mapping[str, Row[Any]], proven: Collection[str] = frozenset()
    ) -> None:
        self.lake = lake
        self.files = dict(files)
        self._proven = proven
        self._indexes: OrderedDict[str, ArchiveIndex] = OrderedDict()
        self._kept = 0

    def index(self, path: str) -> ArchiveIndex:
        """Read a file, prove it whole if nobody did, and return what it has.

        Raises
        ------
        DecodeError
            It is damaged, or gone.
        """
        if path in self._indexes:
            self._indexes.move_to_end(path)
            return self._indexes[path]
        try:
            archive = (read_places if path in self._proven else read_archive)(self.lake / path)
            is_made = archive.framing in (Framing.CONTAINER, Framing.PREDICTION)
            if is_made and path in self._proven:
                archive = read_archive(self.lake / path)  # to see how large the datums are
        except OSError as error:
            raise DecodeError(f"cannot be read any more ({error.strerror or error})") from error
        survey = self.files[path].survey
        origin = origin_of(path, archive)
        sizes = _sizes(archive) if is_made else origin.archive_len
        found = ArchiveIndex(survey, archive.schema, archive.framing, origin, sizes)
        self._indexes[path] = found
        self._kept += found.messages
        while self._kept > INDEXED_MESSAGES and len(self._indexes) > 1:
            _, oldest = self._indexes.popitem(last=False)
            self._kept -= oldest.messages
        return found

    def values(self, index: ArchiveIndex, messages: Ints) -> Sequence[bytes]:
        """Return the values of some messages of one file.

        Raises
        ------
        DecodeError
            The file is gone or was cut off since it was proven.
        """
        starts, sizes = index.origin.archive_pos[messages], index.origin.archive_len[messages]
        first, size = int(starts.min()), int((starts + sizes).max() - starts.min())
        try:
            with (self.lake / index.path).open("rb") as file:
                if size > MOST_BETWEEN * int(sizes.sum()):
                    return _each(file.fileno(), starts, sizes)
                data = os.pread(file.fileno(), size, first)  # not mapped: a file that is cut off kills, then
                return Spans(np.frombuffer(data, np.uint8), starts - first, starts - first + sizes)
        except (OSError, ValueError) as error:
            raise DecodeError(f"{index.path} was changed meanwhile: {error}") from error


class Decoded(NamedTuple):
    """What came of datums."""

    table: pa.Table
    is_independent: bool
    """Whether an engine made it that no drain decodes by."""


class Decoders:
    """What is costly to make for each writer schema, of those that were met lately.

    Parameters
    ----------
    independent
        Whether the bulk engine is DataFusion, which shares no code with drains, and not theirs.
    """

    def __init__(self, *, independent: bool = False) -> None:
        self._independent = independent
        self._bulk = Tools("auto")
        self._reference = Tools("fastavro")

    def check(self, schema: WriterSchema, datums: Sequence[bytes]) -> Ints:
        """Return the bytes that each datum takes in columns.

        Raises
        ------
        DecodeError
            A datum is not what its schema says: nothing unchecked is given to the bulk engine.
        """
        verdicts = self._bulk.of(schema)[0].check(datums)
        if verdicts.status.any():
            bad = int(np.flatnonzero(verdicts.status)[0])
            raise DecodeError(f"message {bad} of these: {REASONS[int(verdicts.status[bad])]}")
        return verdicts.unfolded

    def bulk(self, schema: WriterSchema, survey: str, datums: Sequence[bytes]) -> Decoded:
        """Decode checked datums by the bulk engine; what it cannot, by fastavro, as a drain does."""
        _, decoder = self._bulk.of(schema)
        names = _wanted(decoder, survey)
        try:
            if not self._independent:
                return Decoded(decoder.decode(datums, names), is_independent=False)
            if decoder.bulk:
                wanted = pa.schema([decoder.arrow_schema.field(name) for name in names])
                table = later.call("finkbridge.verify.peer:decode", schema, datums, wanted)
                return Decoded(table, is_independent=True)
        except DecodeError:
            pass
        return Decoded(self.reference(schema, survey, datums), is_independent=False)

    def reference(self, schema: WriterSchema, survey: str, datums: Sequence[bytes]) -> pa.Table:
        """Decode datums by fastavro."""
        _, decoder = self._reference.of(schema)
        return decoder.decode(datums, _wanted(decoder, survey))


def datums(framing: Framing, values: Sequence[bytes]) -> Sequence[bytes]:
    """Return what is to be decoded of messages' values."""
    return values if framing is Framing.BARE else [datum_of(value, framing) for value in values]


def _each(file: int, starts: Ints, sizes: Ints) -> list[bytes]:
    values = [os.pread(file, n, at) for at, n in zip(starts.tolist(), sizes.tolist(), strict=True)]
    if [len(value) for value in values] != sizes.tolist():
        raise ValueError("it was cut off")
    return values


def _sizes(archive: Archive) -> Ints:
    """Return the bytes of each datum; one at a time is made."""
    try:
        sizes = [len(datum_of(message.value or b"", archive.framing)) for message in archive.messages]
    except ValueError as error:
        raise DecodeError(str(error)) from error
    return np.array(sizes, np.int64)


def _wanted(decoder: Decoder, survey: str) -> list[str]:
    dropped = surveys.cutout_columns(survey)
    return [name for name in decoder.arrow_schema.names if name not in dropped]
