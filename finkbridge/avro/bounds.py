"""Whether a schema bounds what fastavro does with any bytes: its own recursion and loops know no bound."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from finkbridge.avro.rewrite import definitions
from finkbridge.avro.schemas import WriterSchema


@lru_cache(maxsize=16)
def is_bounded(schema: WriterSchema) -> bool:
    """Tell whether fastavro's work on any bytes ends: its recursion knows no bound, nor do its loops."""
    return _Bounds(schema.simple).holds(schema.simple)


class _Bounds:
    """Looks for types inside themselves, and for arrays whose items may take no byte."""

    def __init__(self, simple: Any) -> None:
        self.named = definitions(simple)
        self.open: set[str] = set()
        self.done: set[str] = set()
        self.empty: dict[str, bool] = {}

    def holds(self, node: Any) -> bool:
        if isinstance(node, list):
            return all(map(self.holds, node))
        if isinstance(node, str):
            is_known = node not in self.named or node in self.done
            return is_known or (node not in self.open and self.holds(self.named[node]))
        if node["type"] == "array" and self.may_be_empty(node["items"]):
            return False
        name = node.get("name", "")
        self.open.add(name)
        children = [field["type"] for field in node.get("fields", ())]
        found = all(map(self.holds, children + [node[key] for key in ("items", "values") if key in node]))
        self.open.discard(name)
        self.done.add(name)
        return found

    def may_be_empty(self, node: Any) -> bool:
        """Whether a value may take no byte at all; a union and a map take at least one."""
        if isinstance(node, list):
            return False
        if isinstance(node, str):
            return node == "null" or (node in self.named and self._named_may_be_empty(node))
        if "fields" in node:
            return all(self.may_be_empty(field["type"]) for field in node["fields"])
        return bool(node["type"] == "null" or (node["type"] == "fixed" and node["size"] == 0))

    def _named_may_be_empty(self, name: str) -> bool:
        if name not in self.empty:
            self.empty[name] = True  # a record of nothing but itself: it takes no byte
            self.empty[name] = self.may_be_empty(self.named[name])
        return self.empty[name]
