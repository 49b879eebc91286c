"""The alerts of one container file, of any codec and any number of records a block.

Ours have one record a block. Spark's, avro-tools' and fastavro's have many, and only the writer schema tells
where one ends.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fastavro

from finkbridge import later
from finkbridge.avro.archive import FRAMING, SCHEMA
from finkbridge.avro.bounds import is_bounded
from finkbridge.avro.codecs import MAX_BLOCK_BYTES, decompress
from finkbridge.avro.container import (
    SYNC_BYTES,
    ContainerError,
    Data,
    Header,
    read_header,
    read_long,
)
from finkbridge.avro.resolve import Framing, datum_of
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.errors import SchemaError
from finkbridge.reader.files import CutError, FileError, opened

KEPT_SCHEMAS = 64


class Schemas:
    """Writer schemas by their text: the files of a folder share one or two, of 70 kB each."""

    def __init__(self) -> None:
        self._parsed: dict[bytes, WriterSchema] = {}
        self._latest = b""
        """A header without its sync marker, which is most often the next file's too; and what it says."""
        self._metadata: dict[str, bytes] = {}

    def header_of(self, data: Data) -> Header:
        """Read the header of a file.

        Raises
        ------
        ContainerError
            It is none.
        """
        end = len(self._latest) + SYNC_BYTES
        if self._latest and len(data) >= end and data[: len(self._latest)] == self._latest:
            return Header(self._metadata, data[len(self._latest) : end], end)
        header = read_header(data)
        self._latest, self._metadata = data[: header.end - SYNC_BYTES], header.metadata
        return header

    def of(self, text: bytes) -> WriterSchema:
        """Parse a schema that was not met lately.

        Raises
        ------
        FileError
            It is no Avro schema.
        """
        found = self._parsed.get(text)
        if found is None:
            try:
                found = parse_schema(text)
            except SchemaError as error:
                raise FileError(f"its schema is none: {error}") from None
            while len(self._parsed) >= KEPT_SCHEMAS:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[text] = found
        return found


class AlertFile:
    """An open container file.

    Raises
    ------
    FileError
        Its header is none.
    """

    def __init__(self, data: Data, schemas: Schemas) -> None:
        try:
            self._header = schemas.header_of(data)
        except ContainerError as error:
            raise FileError(f"its header is damaged: {error}") from None
        metadata = self._header.metadata
        self._data = data
        self._framing = _framing(metadata)
        self._schemas = schemas
        text = metadata.get(SCHEMA) or metadata.get("avro.schema")
        if text is None:
            raise FileError("its header has no schema")
        self.schema = schemas.of(text)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the alerts as dicts; the blocks before the damage are good.

        Raises
        ------
        FileError
            The file is damaged, from here on.
        """
        trusted = is_bounded(self.schema)
        for count, block in self._blocks():
            if trusted and self._framing is Framing.BARE:
                yield from _decoded(block, count, self.schema)
            else:  # fastavro must not see what it cannot end, and knows no values inside of values
                for datum in self._split(count, block):
                    yield from _decoded(datum, 1, self.schema)

    def datums(self) -> Iterator[bytes]:
        """Yield the alerts as checked datums of the schema; see `records`."""
        for count, block in self._blocks():
            yield from self._split(count, block)

    def _split(self, count: int, block: bytes) -> Iterator[bytes]:
        if self._framing is Framing.BARE:
            yield from later.call("finkbridge.reader.split:split", self.schema, block, count)
            return
        bytes_, end = read_long(block, 0)
        try:
            datum = datum_of(block[end : end + bytes_], self._framing)
        except ValueError as error:
            raise FileError(f"in its block, {error}") from None
        yield from later.call("finkbridge.reader.split:split", self.schema, datum, 1)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        codec = self._header.metadata.get("avro.codec", b"null").decode(errors="replace")
        at = self._header.end
        while at < len(self._data):
            count, start, end = _frame(self._data, at, self._header)
            try:
                block = decompress(codec, self._data[start:end])
            except ValueError as error:
                raise FileError(f"{error} at byte {at}") from None
            if count > max(1, len(block)):
                raise FileError(f"a block of {count:,} records in {len(block):,} bytes at byte {at}")
            yield count, block
            at = end + SYNC_BYTES


def _framing(metadata: Mapping[str, bytes]) -> Framing:
    """Return what values have around their datum: nothing, but in an archive of ours that says so."""
    try:
        return Framing(metadata.get(FRAMING, b"bare").decode())
    except ValueError:
        raise FileError("its header says of its values what this finkbridge does not know") from None


def records_of(path: Path, schemas: Schemas) -> Iterator[dict[str, Any]]:
    """Yield the alerts of a file as dicts.

    Raises
    ------
    FileError
        The file is none, or is damaged from here on.
    """
    yield from _each(path, schemas, AlertFile.records)


def datums_of(path: Path, schemas: Schemas) -> Iterator[tuple[WriterSchema, bytes]]:
    """Yield the alerts of a file as checked datums, each with its schema; see `records_of`."""
    yield from _each(path, schemas, lambda file: ((file.schema, datum) for datum in file.datums()))


def _each(path: Path, schemas: Schemas, of: Any) -> Iterator[Any]:
    try:
        with opened(path) as data:
            yield from of(AlertFile(data, schemas))
    except CutError as cut:
        if cut.good:
            yield from _before(cut, schemas, of)
        raise


def _before(cut: CutError, schemas: Schemas, of: Any) -> Iterator[Any]:
    try:
        yield from of(AlertFile(cut.good, schemas))
    except FileError:
        return  # it ends where the gzip does, which is what is told


def _frame(data: Data, at: int, header: Header) -> tuple[int, int, int]:
    """Return the count of a block, and where its bytes start and end."""
    try:
        count, start = read_long(data, at)
        size, start = read_long(data, start)
    except ContainerError as error:
        raise FileError(str(error)) from None
    end = start + size
    if count < 0 or size < 0 or end + SYNC_BYTES > len(data):
        raise FileError(f"cut off at byte {at}")
    if size > MAX_BLOCK_BYTES:
        raise FileError(f"a block of {size:,} bytes at byte {at}, more than {MAX_BLOCK_BYTES:,}")
    if data[end : end + SYNC_BYTES] != header.sync:
        raise FileError(f"wrong sync marker at byte {end}")
    return count, start, end


def _decoded(block: bytes, count: int, schema: WriterSchema) -> list[dict[str, Any]]:
    """Return the records of a block: all, as bytes that are left say that none of them is to be trusted."""
    stream, records = io.BytesIO(block), []
    for number in range(count):
        try:
            record = fastavro.schemaless_reader(stream, schema.parsed, None)
        except Exception as error:  # noqa: BLE001 - hostile bytes make it raise anything
            raise FileError(f"record {number + 1} of a block does not decode: {error!r:.100}") from None
        records.append(record if isinstance(record, dict) else {"value": record})
    if stream.tell() != len(block):
        raise FileError(f"{len(block) - stream.tell()} bytes of a block are of no record")
    return records
