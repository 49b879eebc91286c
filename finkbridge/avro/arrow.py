"""The Arrow type of each Avro type, and the conversion of what fastavro reads to it.

Both engines give these types; they come from the writer schema, never from data. The rules:

- primitives, fixed, arrays, maps, records, decimals, dates, times and timestamps as one expects; an enum is a
  dictionary; a uuid is what it is made of, text or bytes, since nothing makes a sender's text a uuid;
- a union of null and one type is that type; any other union is a struct with one field per branch, named
  as the branch, of which the one that was sent is set (Avro's own JSON does it like this);
- a type inside itself, or deeper than `MAX_DEPTH`, is JSON text: bytes as characters 0-255, logical types as
  what they are made of, unions untagged, NaN and infinities as text;
- an empty record, which has no columns, is the boolean ``true``; a duration is a struct of three counts;
  a top level that is no record is the one column ``value``;
- all columns are nullable, so that files of several versions of a schema read as one table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from finkbridge.avro.rewrite import branch_name, definitions, split_union
from finkbridge.errors import SchemaError

MAX_DEPTH = 40
"""Nesting beyond which a column is JSON text: Arrow's C interface ends at 64 levels."""
MAX_COLUMNS = 20_000
"""Columns, nested ones counted; types used many times multiply."""

Build = Callable[[list[Any]], Any]

PRIMITIVE_TYPES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
UNITS = {"millis": "ms", "micros": "us", "nanos": "ns"}
DURATION = pa.struct([(part, pa.uint32()) for part in ("months", "days", "milliseconds")])


@dataclass(frozen=True, slots=True)
class Column:
    """How one Avro type becomes Arrow."""

    type: Any
    raw: Any
    """The schema for fastavro: no logical types, whose Python values have narrower bounds; unions tagged."""
    build: Build
    """Makes the Arrow array of a list of fastavro's values; None is null."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """How the datums of a writer schema become a table."""

    schema: Any
    """The `pyarrow.Schema`."""
    raw: Any
    """The schema for fastavro; a record always."""
    columns: dict[str, Column]

    def table(self, records: Sequence[dict[str, Any]], columns: Sequence[str]) -> Any:
        """Return the table of what fastavro read with `raw`."""
        arrays = [self.columns[name].build([record[name] for record in records]) for name in columns]
        return pa.Table.from_arrays(arrays, schema=pa.schema([self.schema.field(name) for name in columns]))


def map_schema(simple: Any) -> Mapping:
    """Return the mapping of a rewritten schema.

    Raises
    ------
    SchemaError
        When it has more columns than any table should, or an Avro type without mapping; the field is named.
    """
    if not isinstance(simple, dict) or simple["type"] != "record":
        simple = {"type": "record", "name": "value", "fields": [{"name": "value", "type": simple}]}
    mapper = _Mapper(simple)
    columns = mapper.fields(simple, (simple["name"],), "")
    schema = pa.schema([pa.field(name, column.type) for name, column in columns.items()])
    return Mapping(schema, mapper.raw_record(columns), columns)


def arrow_schema(simple: Any) -> Any:
    """Return the `pyarrow.Schema` of a rewritten schema; see `map_schema`."""
    return map_schema(simple).schema


class _Mapper:
    """One pass over one schema: each use of a named type is expanded anew."""

    def __init__(self, simple: Any) -> None:
        self.named = definitions(simple)
        self.made = 0
        self.plain: set[str] = set()

    def column(  # noqa: C901, PLR0911 - one line for each kind of type
        self, node: Any, inside: tuple[str, ...], where: str
    ) -> Column:
        self.made += 1
        if self.made > MAX_COLUMNS:
            raise SchemaError(f"the schema has more than {MAX_COLUMNS} columns, {where} among them")
        if isinstance(node, str) and node in self.named:
            node = self.named[node]
        if len(inside) > MAX_DEPTH or (isinstance(node, dict) and node.get("name") in inside):
            return Column(pa.string(), self.raw_plain(node), _json_texts)
        if isinstance(node, list):
            return self.union(node, inside, where)
        if isinstance(node, str):
            return _leaf(node, where)
        if node["type"] == "record":
            return self.record(node, (*inside, node["name"]), where)
        if node["type"] == "array":
            return self.array(node, (*inside, ""), where)
        if node["type"] == "map":
            return self.map(node, (*inside, ""), where)
        if node["type"] == "enum":
            return _enum(node["symbols"], self.raw_name())
        if node["type"] == "fixed":
            return _fixed(node, self.raw_name())
        return _decimal(node, "bytes") if node["type"] == "bytes" else _logical(node, where)

    def fields(self, node: dict[str, Any], inside: tuple[str, ...], where: str) -> dict[str, Column]:
        prefix = f"{where}." if where else ""
        return {f["name"]: self.column(f["type"], inside, prefix + f["name"]) for f in node["fields"]}

    def record(self, node: dict[str, Any], inside: tuple[str, ...], where: str) -> Column:
        columns = self.fields(node, inside, where)
        raw = self.raw_record(columns)
        if not columns:
            return Column(
                pa.bool_(),
                raw,
                lambda values: pa.array([None if v is None else True for v in values], pa.bool_()),
            )
        return Column(_struct(columns), raw, lambda values: _build_struct(columns, values))

    def union(self, branches: list[Any], inside: tuple[str, ...], where: str) -> Column:
        nullable = split_union(branches)
        if nullable or len(branches) == 1:
            null, other = nullable or (1, branches[0])
            column = self.column(other, inside, where)
            raw = ["null", column.raw] if null == 0 else [column.raw, "null"]
            return Column(column.type, raw if nullable else [column.raw], column.build)
        columns: dict[str, Column] = {}
        raw = []
        for branch in branches:
            name = branch_name(branch)
            column = self.column(branch, (*inside, ""), f"{where}.{name}")
            raw.append("null" if name == "null" else self.raw_record({name: column}))
            if name != "null":
                columns[name] = column
        return Column(_struct(columns), raw, lambda values: _build_struct(columns, values))

    def array(self, node: dict[str, Any], inside: tuple[str, ...], where: str) -> Column:
        item = self.column(node["items"], inside, where)
        kind = pa.list_(item.type)
        return Column(
            kind, {"type": "array", "items": item.raw}, lambda values: _build_list(kind, item, values)
        )

    def map(self, node: dict[str, Any], inside: tuple[str, ...], where: str) -> Column:
        item = self.column(node["values"], inside, where)
        kind = pa.map_(pa.string(), item.type)
        return Column(
            kind, {"type": "map", "values": item.raw}, lambda values: _build_map(kind, item, values)
        )

    def raw_name(self) -> str:
        return f"t{self.made}_"

    def raw_record(self, columns: dict[str, Column]) -> dict[str, Any]:
        self.made += 1
        fields = [{"name": name, "type": column.raw} for name, column in columns.items()]
        return {"type": "record", "name": self.raw_name(), "fields": fields}

    def raw_plain(self, node: Any) -> Any:
        """Return a node without logical types; each of its named types is defined once, however often met."""
        if isinstance(node, list):
            return [self.raw_plain(branch) for branch in node]
        if isinstance(node, str):
            return self.raw_plain(self.named[node]) if node in self.named else node
        if "name" in node:
            return self.raw_plain_named(node)
        plain = {key: self.raw_plain(node[key]) for key in ("items", "values") if key in node}
        return {"type": node["type"], **plain} if plain else node["type"]

    def raw_plain_named(self, node: dict[str, Any]) -> Any:
        name = f"plain_{node['name']}"
        if name in self.plain:
            return name
        self.plain.add(name)
        plain = {key: node[key] for key in ("type", "symbols", "size") if key in node} | {"name": name}
        if "fields" in node:
            plain["fields"] = [{"name": f["name"], "type": self.raw_plain(f["type"])} for f in node["fields"]]
        return plain


def _struct(columns: dict[str, Column]) -> Any:
    return pa.struct([pa.field(name, column.type) for name, column in columns.items()])


def _leaf(name: str, where: str) -> Column:
    if name not in PRIMITIVE_TYPES:
        raise SchemaError(f"{where} has the Avro type {name!r}, which has no Arrow type")
    kind = PRIMITIVE_TYPES[name]
    return Column(kind, name, lambda values: pa.array(values, kind))


def _logical(node: dict[str, Any], where: str) -> Column:
    kind, base = _logical_type(node["logicalType"], where), PRIMITIVE_TYPES[node["type"]]
    return Column(kind, node["type"], lambda values: pa.array(values, base).view(kind))


def _logical_type(logical: str, where: str) -> Any:
    name, _, unit = logical.rpartition("-")
    if logical == "date":
        return pa.date32()
    if name == "time":
        return pa.time32("ms") if unit == "millis" else pa.time64(UNITS[unit])
    if name in {"timestamp", "local-timestamp"}:
        return pa.timestamp(UNITS[unit], None if name.startswith("local") else "UTC")
    raise SchemaError(f"{where} has the logical type {logical!r}, which has no Arrow type")


def _enum(symbols: list[str], name: str) -> Column:
    kind = pa.dictionary(pa.int32(), pa.string())
    position = {symbol: i for i, symbol in enumerate(symbols)} | {None: None}
    dictionary = pa.array(symbols, pa.string())

    def build(values: list[Any]) -> Any:
        indices = pa.array([position[value] for value in values], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, dictionary)

    return Column(kind, {"type": "enum", "name": name, "symbols": symbols}, build)


def _fixed(node: dict[str, Any], name: str) -> Column:
    raw = {"type": "fixed", "name": name, "size": node["size"]}
    if node.get("logicalType") == "decimal":
        return _decimal(node, raw)
    if node.get("logicalType") == "duration":
        return Column(DURATION, raw, _build_duration)
    kind = pa.binary(node["size"] or -1)  # Parquet has no fixed type without bytes
    return Column(kind, raw, lambda values: pa.array(values, kind))


def _decimal(node: dict[str, Any], raw: Any) -> Column:
    wide = node["precision"] > 38
    kind = (pa.decimal256 if wide else pa.decimal128)(node["precision"], node["scale"])
    size = 32 if wide else 16

    def build(values: list[Any]) -> Any:
        numbers = (int.from_bytes(value or b"", "big", signed=True) for value in values)
        data = b"".join(number.to_bytes(size, "little", signed=True) for number in numbers)
        return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(data)])

    return Column(kind, raw, build)


def _build_duration(values: list[Any]) -> Any:
    parts = np.frombuffer(b"".join(value or bytes(12) for value in values), "<u4").reshape(-1, 3)
    arrays = [pa.array(parts[:, i].copy()) for i in range(3)]
    return pa.StructArray.from_arrays(arrays, type=DURATION, mask=_mask(values))


def _build_struct(columns: dict[str, Column], values: list[Any]) -> Any:
    arrays = [
        column.build([None if value is None else value.get(name) for value in values])
        for name, column in columns.items()
    ]
    return pa.StructArray.from_arrays(arrays, type=_struct(columns), mask=_mask(values))


def _build_list(kind: Any, item: Column, values: list[Any]) -> Any:
    child = item.build([element for value in values if value for element in value])
    return pa.ListArray.from_arrays(_offsets(values), child, type=kind, mask=_mask(values))


def _build_map(kind: Any, item: Column, values: list[Any]) -> Any:
    keys = pa.array([key for value in values if value for key in value], pa.string())
    child = item.build([element for value in values if value for element in value.values()])
    return pa.MapArray.from_arrays(_offsets(values), keys, child, type=kind, mask=_mask(values))


def _offsets(values: list[Any]) -> Any:
    sizes = np.fromiter((len(value) if value else 0 for value in values), np.int64, len(values))
    return pa.array(np.concatenate(([0], np.cumsum(sizes))), pa.int32())


def _mask(values: list[Any]) -> Any:
    """Return what is null, or None if nothing is."""
    return pa.array([value is None for value in values], pa.bool_()) if None in values else None


def _validity(values: list[Any]) -> Any:
    return pa.array([value is not None for value in values], pa.bool_()).buffers()[1]


def _json_texts(values: list[Any]) -> Any:
    texts = [None if value is None else json.dumps(_plain(value), ensure_ascii=False) for value in values]
    return pa.array(texts, pa.string())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    return value
