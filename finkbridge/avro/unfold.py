"""What values take in memory once they are decoded, whatever few bytes they have in Avro.

An array's item may have one byte, or none, and be a hundred columns: so the check (`finkbridge.avro.check`)
counts what items take before any is made. Sizes are of a value's fixed part; what has a length of its own
(text, bytes) is bounded by the datum, and what is in the items of an array is counted with them.
"""

from __future__ import annotations

import sys
from typing import Any

from finkbridge.avro.rewrite import definitions, split_union

MOST_BYTES = 1 << 31
"""More is not told: a single value of this size is refused whatever it is."""

LEVELS = 4
"""Bytes that Parquet takes for each value of a leaf while it is written: is it there, and in which row."""
REFERENCE = 8
"""Bytes that Python takes for a value's place in another."""
_ARROW = {"boolean": 1, "int": 4, "float": 4, "long": 8, "double": 8, "bytes": 4, "string": 4}
_PYTHON = {"int": 32, "long": 32, "float": 24, "double": 24, "bytes": 40, "string": 64}
_CONTAINER = 72
WIDE_DECIMAL = 38
"""Digits that a decimal of 16 bytes holds."""


def columns_of(simple: Any) -> int:
    """Return how many columns a rewritten schema makes, nested ones counted, wherever its types are used."""
    return _Columns(simple).of(simple)


class _Columns:
    def __init__(self, simple: Any) -> None:
        self._named = definitions(simple)
        self._known: dict[str, int] = {}

    def of(self, node: Any) -> int:
        if isinstance(node, list):
            return sum(self.of(branch) for branch in node if branch != "null")
        if isinstance(node, str):
            return self._of_name(node) if node in self._named else 1
        if "name" in node:
            return self._of_name(node["name"])
        return 1 + sum(self.of(node[key]) for key in ("items", "values") if key in node)

    def _of_name(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = 1  # inside itself it is text
            fields = self._named[name].get("fields", ())
            self._known[name] = min(1 + sum(self.of(field["type"]) for field in fields), MOST_BYTES)
        return self._known[name]


class Arrow:
    """Bytes of a value as a place in Arrow's columns: a null takes as many as any other."""

    def __init__(self, simple: Any) -> None:
        self._named = definitions(simple)
        self._known: dict[str, int] = {}

    def of(self, node: Any) -> int:
        """Return the size of a value of some type of the schema."""
        return min(self._of(node), MOST_BYTES)

    def _of(self, node: Any) -> int:
        if isinstance(node, list):
            return sum(self.of(branch) for branch in node if branch != "null")
        if isinstance(node, str):
            return self._of_name(node) if node in self._named else _ARROW.get(node, 0) + LEVELS
        if "items" in node or "values" in node:
            return 2 * LEVELS  # where its items begin; an empty one has a place in each leaf all the same
        return self._of_name(node["name"]) if "name" in node else _leaf_bytes(node)

    def _of_name(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = REFERENCE  # inside itself it is text
            node = self._named[name]
            fields = node.get("fields")
            inner = _leaf_bytes(node) if fields is None else 1 + sum(self.of(f["type"]) for f in fields)
            self._known[name] = min(inner, MOST_BYTES)
        return self._known[name]


def _leaf_bytes(node: dict[str, Any]) -> int:
    """Return the size of a logical type, an enum, or a fixed type."""
    if node.get("logicalType") == "decimal":
        return (32 if node["precision"] > WIDE_DECIMAL else 16) + LEVELS
    return max(int(node.get("size", 0)), REFERENCE) + LEVELS


class Objects:
    """Bytes of a value as an object of Python, as fastavro makes it, without its branches of unions."""

    def __init__(self, simple: Any) -> None:
        self._named = definitions(simple)

    def of(self, node: Any) -> int:
        """Return the size of a value of some type of the schema."""
        if isinstance(node, list):
            return REFERENCE if split_union(node) else _dict_bytes(1)
        if isinstance(node, str):
            is_size = node in self._named and self._named[node]["type"] == "fixed"
            return self.of(self._named[node]) if is_size else REFERENCE + _PYTHON.get(node, 0)
        if "fields" in node:
            return REFERENCE + self.of_record(node)
        if "items" in node or "values" in node:
            return REFERENCE + _CONTAINER
        return REFERENCE + _PYTHON["bytes"] + int(node.get("size", 0))

    def of_record(self, node: dict[str, Any]) -> int:
        """Return the size of a record, with the text that it may become."""
        fields = node["fields"]
        own = _dict_bytes(len(fields)) + sum(len(field["name"]) for field in fields)
        return min(own + sum(self.of(field["type"]) for field in fields), MOST_BYTES)


def _dict_bytes(count: int) -> int:
    return sys.getsizeof(dict.fromkeys(range(count)))
