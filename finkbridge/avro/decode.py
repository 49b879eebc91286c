"""Datums to Arrow, by one of two engines that give equal tables.

The bulk engine is DataFusion's reader of container files: native, and to be trusted with checked datums
only. The other is fastavro, slow and sure; it takes what the bulk engine cannot, which the schema tells.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import datafusion
import fastavro
import pyarrow as pa

from finkbridge.avro.arrow import map_schema
from finkbridge.avro.bulk import bulk_refusal
from finkbridge.avro.check import REASONS, Checker
from finkbridge.avro.container import ContainerError, block_prefix, encode_header, read_blocks, read_header
from finkbridge.avro.files import mapped
from finkbridge.avro.machine import TOO_LARGE
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import DecodeError, SchemaError
from finkbridge.panics import telling_panics

Engine = Literal["auto", "fastavro"]

BATCH_ROWS = 128
"""Rows that DataFusion decodes at once: 256 takes a fifth longer, as a batch then outgrows the cache."""
REFERENCE_ROWS = 32
"""Rows that fastavro decodes at once: an LSST alert is 3 MB of Python's dicts."""
REFERENCE_BYTES = 64 << 20
"""Of the objects that fastavro makes at once, if they are of more than one datum."""
TEMPORARY_SYNC = b"finkbridge-decod"


class Decoder:
    """Decodes the datums of one writer schema; keep it, as building it takes milliseconds.

    Parameters
    ----------
    schema
        The writer schema.
    engine
        ``auto`` decodes in bulk what can be; ``fastavro`` never.

    Raises
    ------
    SchemaError
        When an Avro type has no Arrow type; the field is named.
    """

    def __init__(self, schema: WriterSchema, engine: Engine = "auto") -> None:
        self.schema = schema
        self._mapping = map_schema(schema.simple)
        self.refusal = bulk_refusal(schema)
        """Why the bulk engine cannot decode this schema; None if it can."""
        self.bulk = engine == "auto" and self.refusal is None
        self._raw = None if self.bulk else fastavro.parse_schema(self._mapping.raw)
        self._checker = None if self.bulk else Checker(schema, careful=True)

    @property
    def arrow_schema(self) -> Any:
        """The `pyarrow.Schema` of the tables, from the writer schema alone."""
        return self._mapping.schema

    def decode_file(self, path: Path, rows: int, columns: Sequence[str] | None = None) -> Any:
        """Return the table of a container file of bare, checked datums, in the file's order.

        Parameters
        ----------
        path
            Written by `finkbridge.avro.archive`, with bare framing.
        rows
            Number of datums that went in.
        columns
            Names of the top-level columns wanted; all if None.

        Raises
        ------
        DecodeError
            When the table does not have as many rows, or the file cannot be decoded.
        """
        names = self._names(columns)
        table = self._bulk(path, names) if self.bulk else self._reference(_datums(path), names)
        if table.num_rows != rows:
            raise DecodeError(f"{path}: {rows} messages went in and {table.num_rows} rows came out")
        return table

    def decode(self, datums: Sequence[bytes], columns: Sequence[str] | None = None) -> Any:
        """Return the table of checked datums; see `decode_file`."""
        if not self.bulk:
            return self._reference(iter(datums), self._names(columns))
        with _temporary_file(self.schema, datums) as path:
            return self.decode_file(path, len(datums), columns)

    def _names(self, columns: Sequence[str] | None) -> list[str]:
        known = self._mapping.columns
        for name in columns or ():
            if name not in known:
                raise SchemaError(f"the writer schema {self.schema.fingerprint} has no field {name!r}")
        return list(known if columns is None else columns)

    def _bulk(self, path: Path, names: list[str]) -> Any:
        config = datafusion.SessionConfig().with_target_partitions(1).with_batch_size(BATCH_ROWS)
        wanted = pa.schema([self.arrow_schema.field(name) for name in names])
        try:
            with telling_panics(), _plain_name(path) as plain:
                frame = datafusion.SessionContext(config).read_avro(str(plain))
                batches = frame.select(*[_quoted(name) for name in names]).collect()
            table = pa.Table.from_batches(batches) if batches else wanted.empty_table()
            return table if table.schema.equals(wanted) else table.cast(wanted)
        except Exception as error:  # DataFusion raises no narrower one
            raise DecodeError(
                f"{path}: the bulk decoder failed: {' '.join(str(error).split())[:300]}"
            ) from error

    def _reference(self, datums: Iterator[bytes], names: list[str]) -> Any:
        batches = ([self._read(datum) for datum in some] for some in self._few(datums))
        return pa.concat_tables(self._mapping.table(records, names) for records in chain([[]], batches))

    def _few(self, datums: Iterator[bytes]) -> Iterator[list[bytes]]:
        """Part datums into as many as fastavro decodes at once."""
        some: list[bytes] = []
        size = 0
        for datum in datums:
            objects = self._object_bytes(datum)
            if len(some) == REFERENCE_ROWS or (some and size + objects > REFERENCE_BYTES):
                yield some
                some, size = [], 0
            some.append(datum)
            size += objects
        if some:
            yield some

    def _object_bytes(self, datum: bytes) -> int:
        """Return what fastavro takes for a datum; one that is too large was checked for the other engine."""
        if self._checker is None:
            return 0
        verdicts = self._checker.check([datum])
        if verdicts.status[0] == TOO_LARGE:
            raise DecodeError(f"fastavro may not decode a datum: {REASONS[TOO_LARGE]}")
        return int(verdicts.objects[0]) + len(datum)

    def _read(self, datum: bytes) -> Any:
        stream = io.BytesIO(datum)
        try:
            record = fastavro.schemaless_reader(stream, self._raw, None)
        except Exception as error:  # fastavro raises anything on bytes that were not checked
            raise DecodeError(f"fastavro refuses a datum: {error!r:.200}") from error
        if stream.tell() != len(datum):
            raise DecodeError(f"fastavro leaves {len(datum) - stream.tell()} bytes of a datum")
        return record


def _quoted(name: str) -> str:
    """Return a column's name for DataFusion, which lowercases and splits what is not quoted."""
    return '"' + name.replace('"', '""') + '"'


def _datums(path: Path) -> Iterator[bytes]:
    """Yield the datums of a container file that has one in each block."""
    try:
        with mapped(path) as data:
            for block in read_blocks(data, read_header(data)):
                yield data[block.start : block.end]
    except (ContainerError, ValueError) as error:
        raise DecodeError(f"{path}: {error}") from error


@contextmanager
def _plain_name(path: Path) -> Iterator[Path]:
    """Give a name of a file that DataFusion does not take for a pattern, a URL or another format's."""
    if re.fullmatch(r"[\w./-]+\.avro", str(path), re.ASCII):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="finkbridge-") as folder:
        plain = Path(folder) / "datums.avro"
        plain.symlink_to(path.absolute())
        yield plain


@contextmanager
def _temporary_file(schema: WriterSchema, datums: Sequence[bytes]) -> Iterator[Path]:
    """Write datums as a container file, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="finkbridge-") as folder:
        path = Path(folder) / "datums.avro"
        with path.open("wb") as file:
            file.write(
                encode_header({"avro.codec": b"null", "avro.schema": schema.simplified}, TEMPORARY_SYNC)
            )
            for datum in datums:
                file.writelines((block_prefix(len(datum)), datum, TEMPORARY_SYNC))
        yield path
