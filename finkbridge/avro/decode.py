"""Datums to Arrow, by one of two engines that give equal tables.

The bulk engine is a machine of our own (`finkbridge.avro.columns`), for checked datums. The other is
fastavro, slow and sure; it takes what the bulk engine cannot, which the schema tells.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import fastavro
import pyarrow as pa

from finkbridge.avro.arrow import map_schema
from finkbridge.avro.bulk import bulk_refusal
from finkbridge.avro.check import REASONS, Checker
from finkbridge.avro.columns import Program
from finkbridge.avro.machine import TOO_LARGE
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import DecodeError, SchemaError

Engine = Literal["auto", "fastavro"]

REFERENCE_ROWS = 32
"""Rows that fastavro decodes at once: an LSST alert is 3 MB of Python's dicts."""
REFERENCE_BYTES = 64 << 20
"""Of the objects that fastavro makes at once, if they are of more than one datum."""


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
        self._kept: tuple[list[str], Program] | None = None

    @property
    def arrow_schema(self) -> Any:
        """The `pyarrow.Schema` of the tables, from the writer schema alone."""
        return self._mapping.schema

    def decode(self, datums: Sequence[bytes], columns: Sequence[str] | None = None) -> Any:
        """Return the table of datums that were checked, in their order.

        Parameters
        ----------
        datums
            Of the writer schema.
        columns
            Names of the top-level columns wanted; all if None.

        Raises
        ------
        DecodeError
            When a datum cannot be decoded, or the table has not as many rows as there are datums.
        """
        names = self._names(columns)
        table = self._program(names).decode(datums) if self.bulk else self._reference(datums, names)
        if table.num_rows != len(datums):
            raise DecodeError(f"{len(datums)} messages went in and {table.num_rows} rows came out")
        return table

    def _names(self, columns: Sequence[str] | None) -> list[str]:
        known = self._mapping.columns
        for name in columns or ():
            if name not in known:
                raise SchemaError(f"the writer schema {self.schema.fingerprint} has no field {name!r}")
        return list(known if columns is None else columns)

    def _program(self, names: list[str]) -> Program:
        """Return what decodes some columns; the latest is kept, as callers ask for the same ones."""
        kept = self._kept
        if kept is None or kept[0] != names:
            kept = self._kept = names, Program(self.schema.simple, self._mapping, names)
        return kept[1]  # of this call, whatever other threads keep by now

    def _reference(self, datums: Sequence[bytes], names: list[str]) -> Any:
        batches = ([self._read(datum) for datum in some] for some in self._few(datums))
        return pa.concat_tables(self._mapping.table(records, names) for records in chain([[]], batches))

    def _few(self, datums: Sequence[bytes]) -> Iterator[list[bytes]]:
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
