"""Avro schemas as Spark writes them: records named by path, nearly each type a union with null second."""

from __future__ import annotations

from typing import Any

Field = dict[str, Any]
Schema = dict[str, Any]

ROOT = "topLevelRecord"


def nullable(avro_type: Any) -> list[Any]:
    """Return the union of a type with null, in Spark's order."""
    return [avro_type, "null"]


def fields(text: str) -> list[Field]:
    """Return nullable fields of primitive types from ``name:type`` pairs with blanks between."""
    pairs = (pair.split(":") for pair in text.split())
    return [{"name": name, "type": nullable(avro_type)} for name, avro_type in pairs]


def record(name: str, members: list[Field]) -> Schema:
    """Return a record schema, named below Spark's root."""
    return {"type": "record", "name": f"{ROOT}.{name}", "fields": members}


def struct(name: str, members: list[Field]) -> Field:
    """Return a field that is a record, never null itself."""
    return {"name": name, "type": record(name, members)}


def array(name: str, members: list[Field]) -> Field:
    """Return a nullable field that is an array of nullable records."""
    return {"name": name, "type": nullable({"type": "array", "items": nullable(record(name, members))})}


def mapping(name: str, values: Any) -> Field:
    """Return a nullable field that maps text to nullable values of one type."""
    return {"name": name, "type": nullable({"type": "map", "values": nullable(values)})}
