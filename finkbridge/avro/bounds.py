"""Whether a schema bounds what fastavro does with any bytes: its own recursion and loops know no bound."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from finkbridge.avro.rewrite import definitions
from finkbridge.avro.schemas import WriterSchema


@lru_cache(maxsize=16)
def is_bounded(schema: WriterSchema) -> bool:
    """Tell whether fastavro's work on any bytes ends: no type is inside itself, no items have no bytes."""
    named = definitions(schema.simple)
    open_, done = set[str](), set[str]()

    def ends(node: Any) -> bool:
        if isinstance(node, list):
            return all(map(ends, node))
        if isinstance(node, str):
            return node not in named or node in done or (node not in open_ and ends(named[node]))
        if node["type"] == "array" and _may_be_empty(node["items"], named, ()):
            return False
        name = node.get("name", "")
        open_.add(name)
        children = [field["type"] for field in node.get("fields", ())]
        found = all(map(ends, children + [node[key] for key in ("items", "values") if key in node]))
        open_.discard(name)
        done.add(name)
        return found

    return ends(schema.simple)


def _may_be_empty(node: Any, named: dict[str, Any], inside: tuple[str, ...]) -> bool:
    """Tell whether a value of the type may take no byte; a union has its tag, an array its end."""
    if isinstance(node, str):
        return node == "null" or (node in named and _may_be_empty(named[node], named, inside))
    if isinstance(node, list) or node.get("name") in inside:
        return False
    if node["type"] == "fixed":
        return bool(node["size"] == 0)
    within = (*inside, node.get("name", ""))
    return node["type"] == "null" or (
        node["type"] == "record" and all(_may_be_empty(f["type"], named, within) for f in node["fields"])
    )
