"""Which schemas the bulk engine can decode; see `finkbridge.avro.decode`."""

from __future__ import annotations

from typing import Any

from finkbridge.avro.rewrite import definitions, split_union
from finkbridge.avro.schemas import WriterSchema

MAX_BULK_DEPTH = 20
"""Nesting up to which the bulk engine was proven."""


def bulk_refusal(schema: WriterSchema) -> str | None:
    """Return why the bulk engine cannot decode a schema, or None if it can; from the schema alone."""
    if not isinstance(schema.simple, dict) or schema.simple["type"] != "record":
        return "the top level is no record"
    return _refusal(schema.simple, definitions(schema.simple), ())


def _refusal(  # noqa: PLR0911 - one line for each thing that is refused
    node: Any, named: dict[str, Any], inside: tuple[str, ...]
) -> str | None:
    if isinstance(node, list):
        nullable = split_union(node)
        return _refusal(nullable[1], named, inside) if nullable else "a union of other than null and one type"
    if isinstance(node, str):
        if node in named:
            return _refusal(named[node], named, inside)
        return "a null outside of a union" if node == "null" else None
    if node.get("name") in inside:
        return "a recursive type"
    if len(inside) >= MAX_BULK_DEPTH:
        return f"more than {MAX_BULK_DEPTH} types inside each other"
    if node["type"] == "record" and not node["fields"]:
        return "an empty record"
    if node.get("logicalType") == "duration" or node.get("size") == 0:
        return "a duration, or a fixed type without bytes"
    children = [field["type"] for field in node.get("fields", ())]
    children += [node[key] for key in ("items", "values") if key in node]
    within = (*inside, node.get("name", ""))
    return next((found for child in children if (found := _refusal(child, named, within))), None)
