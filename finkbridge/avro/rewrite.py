"""Rewrites a writer schema so that every reader agrees on it; its encoding stays the same.

Spark names the records of an alert ``topLevelRecord.value``: arrow-avro registers such a name whole and
looks it up split. Avro's binary encoding depends on no name, namespace, doc, default or alias, so
the rewritten schema has none of those but unique simple names. All that is Avro here walks this form:

- a primitive or a named type seen before is a ``str``, a union is a ``list``, anything else a ``dict``;
- a named type is defined where it first occurs; its name has neither dots nor namespaces;
- a logical type is there only where Avro defines it for its base type and every datum can have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from finkbridge.errors import SchemaError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
RECORDS = frozenset({"record", "error"})
NAMED = RECORDS | {"enum", "fixed"}

MAX_SCHEMA_BYTES = 16 << 20
MAX_JSON_DEPTH = 400
"""About 130 records inside each other; Python's own recursion ends at 1,000 frames."""
MAX_JSON_NODES = 500_000
MAX_FIXED_BYTES = 1 << 30
SHOWN_NAME = 100
"""Characters of a field's name in the place that an error tells; honest ones have fewer."""
MAX_DECIMAL_DIGITS = 76
"""What Arrow's widest decimal holds; wider ones stay bytes."""

LOGICAL_TYPES = {
    "int": {"date", "time-millis"},
    "long": {"time-micros"}
    | {f"{prefix}timestamp-{unit}" for prefix in ("", "local-") for unit in ("millis", "micros", "nanos")},
}
"""Logical types that take any value of their base type. Not ``uuid``: no string need be one."""


def load_json(text: bytes) -> Any:
    """Parse the JSON of a schema within bounds.

    Raises
    ------
    SchemaError
        When it is no JSON, or larger or deeper than any honest schema.
    """
    if len(text) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"the schema has {len(text)} bytes, more than {MAX_SCHEMA_BYTES}: not parsed")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the schema is no JSON: {_short(error)}") from error
    _bound(document)
    return document


def simplify(document: Any) -> Any:
    """Return the rewritten schema of a parsed JSON `document`.

    Raises
    ------
    SchemaError
        When the document is no Avro schema; the message names the field.
    """
    return _Rewriter().rewrite(document, "", "the schema")


def to_json(simple: Any) -> bytes:
    """Return the JSON of a rewritten schema as arrow-avro wants it: UTF-8, and nothing escaped."""
    try:
        return json.dumps(simple, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise SchemaError("the schema has a name that is no valid Unicode: not parsed") from error


def definitions(simple: Any) -> dict[str, dict[str, Any]]:
    """Return the named types of a rewritten schema, in the order of their definition."""
    return {node["name"]: node for node in _nodes(simple) if node["type"] in NAMED}


def split_union(union: list[Any]) -> tuple[int, Any] | None:
    """Return the tag of null and the other branch of a union of null and one type; None for any other."""
    if len(union) != 2 or union.count("null") != 1:
        return None
    null = union.index("null")
    return null, union[1 - null]


def _nodes(simple: Any) -> Iterator[dict[str, Any]]:
    """Yield the dicts of a rewritten schema, outermost and first ones first."""
    stack = [simple]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(reversed(node))
        elif isinstance(node, dict):
            yield node
            children = [field["type"] for field in node.get("fields", ())]
            stack.extend(reversed(children or [node[key] for key in ("items", "values") if key in node]))


def _bound(document: Any) -> None:
    """Refuse a document whose depth or size would blow up those that walk it."""
    nodes, level = 0, [document]
    for _ in range(MAX_JSON_DEPTH):
        nodes += len(level)
        level = [child for node in level for child in _children(node)]
        if not level or nodes > MAX_JSON_NODES:
            break
    if nodes > MAX_JSON_NODES:
        raise SchemaError(f"the schema has more than {MAX_JSON_NODES} JSON values: not parsed")
    if level:
        raise SchemaError(f"the schema is nested deeper than {MAX_JSON_DEPTH} JSON levels: not parsed")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class _Rewriter:
    """One pass over one schema: the names seen so far, by full name, and those taken."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.taken: set[str] = set(PRIMITIVES | NAMED | {"array", "map", "union"})
        self.numbers: dict[str, int] = {}
        """Last one that was tried for a plain name: thousands of types may share it."""

    def rewrite(  # noqa: PLR0911 - one line for each kind of type
        self, node: Any, namespace: str, where: str
    ) -> Any:
        if isinstance(node, str):
            return self.reference(node, namespace, where)
        if isinstance(node, list):
            return self.union(node, namespace, where)
        if not isinstance(node, dict) or "type" not in node:
            raise SchemaError(f"{where} has no Avro type: {_shown(node)}")
        kind = node["type"]
        if not isinstance(kind, str):
            return self.rewrite(kind, namespace, where)
        if kind in NAMED:
            return self.named(node, namespace, where)
        if kind == "array":
            return {"type": "array", "items": self.rewrite(node.get("items"), namespace, where)}
        if kind == "map":
            return {"type": "map", "values": self.rewrite(node.get("values"), namespace, where)}
        simple = self.reference(kind, namespace, where)
        logical = _logical_type(simple, node)
        return {"type": simple, **logical} if logical else simple

    def reference(self, name: str, namespace: str, where: str) -> str:
        if name in PRIMITIVES:
            return name
        known = self.names.get(_full_name(name, namespace)) or self.names.get(name)
        if known is None:
            raise SchemaError(f"{where} has the unknown type {_shown(name)}")
        return known

    def union(self, branches: list[Any], namespace: str, where: str) -> list[Any]:
        simple = [self.rewrite(branch, namespace, where) for branch in branches]
        names = [branch_name(branch) for branch in simple]
        if not names or "union" in names or len(set(names)) < len(names):
            raise SchemaError(f"{where} is no valid union: {_shown(names)}")
        return simple

    def named(self, node: dict[str, Any], namespace: str, where: str) -> dict[str, Any]:
        name, space = node.get("name"), node.get("namespace")
        if not isinstance(name, str) or not name:
            raise SchemaError(f"{where} has a {node['type']} without a name")
        full = _full_name(name, space if isinstance(space, str) else namespace)
        if full in self.names:
            raise SchemaError(f"{where} defines {_shown(full)} a second time")
        simple = self.names[full] = self.unique(full)
        if node["type"] == "enum":
            return {"type": "enum", "name": simple, "symbols": _symbols(node, where)}
        if node["type"] == "fixed":
            size = _size(node, where)
            return {"type": "fixed", "name": simple, "size": size, **_logical_type("fixed", node)}
        return {"type": "record", "name": simple, "fields": self.fields(node, full.rpartition(".")[0], where)}

    def fields(self, node: dict[str, Any], namespace: str, where: str) -> list[dict[str, Any]]:
        fields, seen = [], set()
        for field in _list_of(node, "fields", dict, where):
            name = field.get("name")
            if not isinstance(name, str) or not name or name in seen:
                raise SchemaError(f"{where} has a field without a name of its own: {_shown(name)}")
            seen.add(name)
            shown = name[:SHOWN_NAME]
            inner = shown if where == "the schema" else f"{where}.{shown}"
            fields.append({"name": name, "type": self.rewrite(field.get("type"), namespace, inner)})
        return fields

    def unique(self, full: str) -> str:
        """Return the last part of a full name, made a plain name that no other type has."""
        plain = re.sub(r"\W", "_", full.rpartition(".")[2], flags=re.ASCII) or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        name, n = plain, self.numbers.get(plain, 1)
        while name in self.taken:
            n += 1
            name = f"{plain}_{n}"
        self.taken.add(name)
        self.numbers[plain] = n
        return name


def branch_name(branch: Any) -> str:
    """Return the name by which a branch of a rewritten union is known: its type's, or its own."""
    if isinstance(branch, list):
        return "union"
    if isinstance(branch, str):
        return branch
    return str(branch["name"] if branch["type"] in NAMED else branch["type"])


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _logical_type(base: str, node: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of the logical type, or none where Avro says to ignore it."""
    logical = node.get("logicalType")
    if not isinstance(logical, str):
        return {}
    if logical in LOGICAL_TYPES.get(base, ()) or (base, logical, node.get("size")) == (
        "fixed",
        "duration",
        12,
    ):
        return {"logicalType": logical}
    precision, scale = node.get("precision"), node.get("scale", 0)
    if logical != "decimal" or base not in {"bytes", "fixed"} or not (_is_int(precision) and _is_int(scale)):
        return {}
    if not 0 <= scale <= precision or not 0 < precision <= MAX_DECIMAL_DIGITS:
        return {}
    return {"logicalType": "decimal", "precision": precision, "scale": scale}


def _symbols(node: dict[str, Any], where: str) -> list[str]:
    symbols = _list_of(node, "symbols", str, where)
    if not symbols or len(set(symbols)) < len(symbols):
        raise SchemaError(f"{where} has an enum without symbols, or with one twice")
    return symbols


def _size(node: dict[str, Any], where: str) -> int:
    size = node.get("size")
    if not _is_int(size) or not 0 <= size <= MAX_FIXED_BYTES:
        raise SchemaError(f"{where} has a fixed type of the size {_shown(size)}")
    return int(size)


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(node: dict[str, Any], key: str, kind: type, where: str) -> list[Any]:
    items = node.get(key)
    if not isinstance(items, list) or not all(isinstance(item, kind) for item in items):
        raise SchemaError(f"{where} has no valid list of {key}")
    return items


def _shown(value: Any) -> str:
    return repr(value)[:100]
