"""Read Avro alerts into Arrow by fastavro alone, independently of the code under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa

PRIMITIVES = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}


class Alerts(NamedTuple):
    """The alerts of one file, in three forms."""

    schema: dict[str, Any]
    records: list[dict[str, Any]]
    table: pa.Table


def read_alerts(folder: Path) -> Alerts:
    """Read the one file of `folder`."""
    (path,) = folder.glob("*.avro")
    with path.open("rb") as stream:
        reader = fastavro.reader(stream)
        schema: Any = reader.writer_schema
        records: Any = list(reader)
    return Alerts(schema, records, pa.Table.from_pylist(records, schema=arrow_schema(schema)))


def arrow_schema(record: dict[str, Any]) -> pa.Schema:
    """Return the Arrow schema of an Avro record."""
    return pa.schema([(field["name"], arrow_type(field["type"])) for field in record["fields"]])


def arrow_type(avro: Any) -> pa.DataType:
    """Return the Arrow type of an Avro type; unions are a type and null."""
    if isinstance(avro, list):
        (avro,) = [branch for branch in avro if branch != "null"]
    if isinstance(avro, str):
        return PRIMITIVES[avro]
    if avro["type"] == "record":
        return pa.struct(list(arrow_schema(avro)))
    if avro["type"] == "array":
        return pa.list_(arrow_type(avro["items"]))
    if avro["type"] == "map":
        return pa.map_(pa.string(), arrow_type(avro["values"]))
    return arrow_type(avro["type"])
