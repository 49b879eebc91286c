"""Walks one datum along its writer schema, to tell a person where the check stopped and what was due there.

The check itself (`finkbridge.avro.check`) is machine code that knows a byte, and no field. This walk is plain
Python and slow, for a message or two; it obeys the same rules and stops at the same byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finkbridge.avro.bulk import bulk_refusal
from finkbridge.avro.machine import MAX_LOOPS, MAX_UNFOLDED_BYTES
from finkbridge.avro.program import LEAST_BYTES, least_sizes, most_calls, unfolded_sizes
from finkbridge.avro.rewrite import branch_name, definitions
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.unfold import Arrow, Objects

MAX_VALUES = 2_000_000
"""Values that are walked before a person is told that it goes on for too long: some seconds."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a datum departs from its schema."""

    position: int
    """Byte of the datum at which the value starts that is refused."""
    path: str
    """Field by field, with the number of each item and the name of each key: ``prv_candidates[3].magpsf``."""
    expected: str
    """Avro type that the schema has there."""
    reason: str


def find_fault(schema: WriterSchema, datum: bytes) -> Fault | None:
    """Return where a datum departs from its schema; None where it does not."""
    walk = _Walk(schema.simple, datum, objects=bulk_refusal(schema) is not None)
    if not datum:
        return Fault(0, "", describe_type(schema.simple), "empty value")
    try:
        walk.make(schema.simple)
        walk.value(schema.simple)
    except _StopError as stop:
        return Fault(stop.at, walk.where(), stop.expected, stop.reason)
    except RecursionError:
        return Fault(walk.at, walk.where(), "a value less deep", "nested too deep")
    if walk.at != len(datum):
        return Fault(walk.at, "", "the end of the message", "bytes left over")
    return None


def describe_type(node: Any) -> str:
    """Return a type of a rewritten schema in a few words."""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return f"union of {', '.join(map(branch_name, node))}"
    kind = str(node["type"])
    if kind in {"record", "enum"}:
        return f"{kind} {node['name']}"
    if kind == "fixed":
        return f"fixed of {node['size']} bytes"
    if kind in {"array", "map"}:
        return f"{kind} of {branch_name(node['items' if kind == 'array' else 'values'])}"
    return f"{kind} ({node['logicalType']})" if "logicalType" in node else kind


class _StopError(Exception):
    """The datum departs from its schema here."""

    def __init__(self, at: int, expected: str, reason: str) -> None:
        super().__init__(reason)
        self.at, self.expected, self.reason = at, expected, reason


class _Walk:
    def __init__(self, simple: Any, datum: bytes, *, objects: bool) -> None:
        self.datum = datum
        self.at = 0
        self.named = definitions(simple)
        self.least = least_sizes(simple)
        self.most_calls = most_calls(simple)
        self.path: list[str] = []
        self.calls = self.loops = self.values = 0
        self.free_items = 4 * len(datum) + 1024
        self.arrow, self.objects = Arrow(simple), Objects(simple) if objects else None
        self.unfolded = 0

    def where(self) -> str:
        """Return the path of the value that is being walked."""
        return "".join(self.path).removeprefix(".")

    def value(self, node: Any) -> None:
        """Walk one value of a type."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise _StopError(self.at, describe_type(node), "too many values to walk them all for a person")
        if isinstance(node, list):
            self.union(node)
        elif isinstance(node, str) and node in self.named:
            self.reference(self.named[node])
        elif isinstance(node, str):
            self.primitive(node, node)
        elif node["type"] == "record":
            self.fields(node)
        elif node["type"] in {"array", "map"}:
            self.items(node)
        elif node["type"] == "enum":
            self.index(node, len(node["symbols"]), "enum index out of range")
        elif node.get("logicalType") == "decimal":
            self.decimal(node)
        elif node["type"] == "fixed":
            self.take(node["size"], node)
        else:
            self.primitive(node["type"], node)

    def union(self, node: list[Any]) -> None:
        branch = node[self.index(node, len(node), "union branch out of range")]
        if branch != "null" or len(node) != 2:
            self.make(branch)
        self.value(branch)

    def reference(self, node: dict[str, Any]) -> None:
        if node["type"] != "record":
            self.value(node)
            return
        if self.calls >= self.most_calls:
            raise _StopError(self.at, describe_type(node), "nested too deep")
        self.calls += 1
        self.make(node)
        self.fields(node)
        self.calls -= 1

    def make(self, node: Any) -> None:
        """Count the object that is made of a value."""
        if self.objects is not None:
            self.unfold(node, self.at, self.objects.of(node))

    def unfold(self, node: Any, start: int, size: int) -> None:
        """Count what comes of some bytes."""
        self.unfolded += size
        if self.unfolded > MAX_UNFOLDED_BYTES:
            reason = f"more than {MAX_UNFOLDED_BYTES} bytes once decoded"
            raise _StopError(start, describe_type(node), reason)

    def fields(self, node: dict[str, Any]) -> None:
        for field in node["fields"]:
            self.path.append(f".{field['name']}")
            self.value(field["type"])
            self.path.pop()

    def items(self, node: dict[str, Any]) -> None:
        if self.loops >= MAX_LOOPS:
            raise _StopError(self.at, describe_type(node), "nested too deep")
        self.loops += 1
        is_map = node["type"] == "map"
        item = node["values" if is_map else "items"]
        least, number, keys = is_map + self.least(item), 0, set[bytes]()
        count, end = self.block(node, least)
        while count:
            for _ in range(count):
                self.path.append(self.key(keys) if is_map else f"[{number}]")
                self.value(item)
                self.path.pop()
                number += 1
            if end is not None and end != self.at:
                raise _StopError(
                    self.at, f"the end of a block of {describe_type(node)}", "wrong block byte size"
                )
            count, end = self.block(node, least)
        self.loops -= 1

    def block(self, node: dict[str, Any], least: int) -> tuple[int, int | None]:
        """Walk the head of a block; return the number of its items, and its end where it says so."""
        start, end = self.at, None
        count = self.number(node)
        if count < 0:
            size, count = self.number(node, start), -count
            end = self.at + size
            if size < 0 or end > len(self.datum):
                raise _StopError(start, describe_type(node), "wrong block byte size")
        if count >= 1 << 63 or (least and count > (len(self.datum) - self.at) // least):
            raise _StopError(start, describe_type(node), "more items than the bytes can hold")
        if not least:
            if count > self.free_items:
                raise _StopError(start, describe_type(node), "more items than the bytes can hold")
            self.free_items -= count
        self.unfold(node, start, count * self.item_bytes(node))
        return count, end

    def item_bytes(self, node: dict[str, Any]) -> int:
        """Return what an item of an array or map takes once decoded."""
        is_map = node["type"] == "map"
        item = node["values" if is_map else "items"]
        return sum(unfolded_sizes(item, self.arrow, self.objects, is_map=is_map))

    def key(self, known: set[bytes]) -> str:
        start = self.at
        key = self.text("map key")
        if key in known:
            raise _StopError(start, "map key", "map key twice")
        known.add(key)
        return f"[{key.decode()[:100]!r}]"

    def primitive(self, kind: str, node: Any) -> None:
        start = self.at
        if kind == "null":
            return
        if kind in {"float", "double"}:
            self.take(LEAST_BYTES[kind], node)
        elif kind == "boolean":
            if self.take(1, node)[0] > 1:
                raise _StopError(start, describe_type(node), "boolean other than 0 or 1")
        elif kind == "string":
            self.text(node)
        elif kind == "bytes":
            self.take(self.length(node), node, start)
        elif not -(2**31) <= self.number(node) < 2**31 and kind == "int":
            raise _StopError(start, describe_type(node), "int out of 32 bits")

    def text(self, node: Any) -> bytes:
        start = self.at
        text = self.take(self.length(node), node, start)
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _StopError(start, describe_type(node), "bad UTF-8") from None
        return text

    def decimal(self, node: dict[str, Any]) -> None:
        start = self.at
        data = self.take(node["size"] if "size" in node else self.length(node), node, start)
        if abs(int.from_bytes(data, "big", signed=True)) >= 10 ** node["precision"]:
            raise _StopError(start, describe_type(node), "decimal beyond its precision")

    def index(self, node: Any, count: int, reason: str) -> int:
        start = self.at
        index = self.number(node)
        if not 0 <= index < count:
            raise _StopError(start, describe_type(node), reason)
        return index

    def length(self, node: Any) -> int:
        start = self.at
        length = self.number(node)
        if length < 0:
            raise _StopError(start, describe_type(node), "negative length")
        return length

    def take(self, size: int, node: Any, start: int | None = None) -> bytes:
        end = self.at + size
        if end > len(self.datum):
            raise _StopError(self.at if start is None else start, describe_type(node), "end of data")
        self.at, data = end, self.datum[self.at : end]
        return data

    def number(self, node: Any, start: int | None = None) -> int:
        """Walk a zigzag number in no more bytes than it needs; errors are told of byte `start`."""
        begin = self.at if start is None else start
        number = shift = 0
        for at in range(self.at, self.at + 10):
            if at >= len(self.datum):
                raise _StopError(begin, describe_type(node), "end of data")
            byte = self.datum[at]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if byte >= 0x80 or (shift == 63 and byte > 1) or (shift > 0 and byte == 0):
            raise _StopError(begin, describe_type(node), "bad or overlong varint")
        self.at = at + 1
        return (number >> 1) ^ -(number & 1)
