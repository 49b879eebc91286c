"""Checked datums to one table, in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import pyarrow as pa

from finkbridge.avro.decode import Decoder
from finkbridge.avro.schemas import WriterSchema
from finkbridge.errors import ClashError, SchemaError

BATCH_BYTES = 64 << 20
"""Of datums that are decoded together, and are in memory beside their table."""

STAND_IN = "no field"
"""The column of a part that has none of the wanted ones: no field of Avro's has a blank in its name."""

Datum = tuple[WriterSchema, bytes]


def arrow_table(
    datums: Iterable[Datum], columns: Sequence[str] | None, without: frozenset[str] = frozenset()
) -> pa.Table:
    """Return the table of datums, in their order; fields that a schema lacks are null.

    Parameters
    ----------
    datums
        Each with its schema.
    columns
        Wanted fields, in this order; None: all.
    without
        Fields to leave out all the same, each of which some schema has.

    Raises
    ------
    SchemaError
        No schema has a field of this name, or a field has no Arrow type.
    ClashError
        A field is of different kinds in different schemas.
    DecodeError
        The decoder fails.
    """
    tables, missing = [], set(columns or ()) - without
    for batch in _batches(datums):
        for part in _decoded(batch, columns, without):
            missing.difference_update(part.column_names)
            tables.append(part)
    if tables and missing:
        raise SchemaError(f"no alert has a field {min(missing)!r}")
    table = _together(tables)
    if columns is not None and tables:
        return table.select([name for name in columns if name not in without])
    return table.drop_columns([STAND_IN]) if STAND_IN in table.column_names else table


def _batches(datums: Iterable[Datum]) -> Iterator[list[Datum]]:
    batch: list[Datum] = []
    size = 0
    for datum in datums:
        batch.append(datum)
        size += len(datum[1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decoded(
    batch: Sequence[Datum], columns: Sequence[str] | None, without: frozenset[str]
) -> Iterator[pa.Table]:
    """Yield the tables of a batch; schemas that alternate are decoded one by one, and put in order."""
    groups: dict[WriterSchema, list[int]] = {}
    for number, (schema, _) in enumerate(batch):
        groups.setdefault(schema, []).append(number)
    parts = [
        _decode(schema, [batch[i][1] for i in numbers], columns, without)
        for schema, numbers in groups.items()
    ]
    order = [number for numbers in groups.values() for number in numbers]
    if order == sorted(order):
        yield from parts
        return
    places = sorted(range(len(order)), key=order.__getitem__)
    yield _together(parts).take(pa.array(places))


def _decode(
    schema: WriterSchema, datums: list[bytes], columns: Sequence[str] | None, without: frozenset[str]
) -> pa.Table:
    decoder = _decoder(schema)
    names = decoder.arrow_schema.names
    if columns is None and not without:
        return decoder.decode(datums, None)
    asked = names if columns is None else columns
    wanted = [name for name in asked if name in names and name not in without]
    if not wanted:  # a table without columns would forget its rows
        return pa.table({STAND_IN: pa.nulls(len(datums))}) if asked else pa.table({})
    return decoder.decode(datums, wanted)


@lru_cache(maxsize=16)
def _decoder(schema: WriterSchema) -> Decoder:
    return Decoder(schema)


def _together(tables: Sequence[pa.Table]) -> pa.Table:
    if not tables:
        return pa.table({})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        said = " ".join(str(error).split())[:200]
        raise ClashError(
            f"the files' schemas do not go together in a table of Arrow ({said}): leave such fields out "
            "(columns=), read the files apart, or use to_pandas, to_list or to_iterator",
            _clashing([table.schema for table in tables]),
        ) from None


def _clashing(schemas: Sequence[pa.Schema]) -> frozenset[str]:
    """Return the columns that Arrow finds no type for."""
    fields: dict[str, list[pa.Schema]] = {}
    for schema in schemas:
        for field in schema:
            fields.setdefault(field.name, []).append(pa.schema([field]))
    return frozenset(name for name, kinds in fields.items() if not _go_together(kinds))


def _go_together(schemas: Sequence[pa.Schema]) -> bool:
    try:
        pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException:
        return False
    return True
