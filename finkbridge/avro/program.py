"""Compiles a writer schema to the program that `finkbridge.avro.machine` runs over each datum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from finkbridge.avro.machine import (
    AGAIN,
    BOOLEAN,
    BYTES,
    CALL,
    COST,
    DECIMAL,
    ENUM,
    INT,
    JUMP,
    KEY,
    LIMIT_WORDS,
    LONG,
    LOOP_WIDTH,
    MAX_CALLS,
    NULLABLE,
    REPEAT,
    RETURN,
    SKIP,
    STRING,
    UNION,
    WIDTH,
)
from finkbridge.avro.rewrite import definitions, split_union
from finkbridge.avro.unfold import Arrow, Objects

PRIMITIVE_CODE = {
    "boolean": (BOOLEAN, 0),
    "int": (INT, 0),
    "long": (LONG, 0),
    "float": (SKIP, 4),
    "double": (SKIP, 8),
    "bytes": (BYTES, 0),
    "string": (STRING, 0),
}
LEAST_BYTES = {"null": 0, "float": 4, "double": 8}
"""Of one value; any other type has at least one byte."""
MAX_NESTED = 400
"""Values inside each other that Python can still print: it takes two of its 1,000 frames for each."""
LEAST_BYTES_LIMIT = 1 << 40


def compile_program(simple: Any, *, objects: bool = False) -> npt.NDArray[np.int64]:
    """Return the program of a rewritten schema; linear in its size, also where it is recursive.

    Parameters
    ----------
    simple
        The schema.
    objects
        Whether the program counts what Python takes for a datum, too.
    """
    return _Compiler(simple, objects=objects).compile()


def least_sizes(simple: Any) -> Callable[[Any], int]:
    """Return what gives the fewest bytes that a value of some type of a rewritten schema can have."""
    return _Compiler(simple).least_bytes


def most_calls(simple: Any) -> int:
    """Return how deep a recursive value may be: Python's own recursion, which must print it as JSON, ends."""
    return max(0, min(MAX_CALLS, MAX_NESTED // _depth(simple) - 1))


def unfolded_sizes(item: Any, arrow: Arrow, objects: Objects | None, *, is_map: bool) -> tuple[int, int]:
    """Return what an item of an array or map takes in Arrow, and what its object takes in Python, or 0."""
    key = int(is_map)
    return (
        arrow.of(item) + key * arrow.of("string"),
        0 if objects is None else objects.of(item) + key * objects.of("string"),
    )


def _depth(node: Any) -> int:
    """Return how many types of a schema are inside each other, without following names."""
    if isinstance(node, list):
        return max(map(_depth, node))
    if isinstance(node, str):
        return 1
    children = [field["type"] for field in node.get("fields", ())]
    children += [node[key] for key in ("items", "values") if key in node]
    return 1 + max(map(_depth, children), default=0)


class _Compiler:
    def __init__(self, simple: Any, *, objects: bool = False) -> None:
        self.simple = simple
        self.named = definitions(simple)
        self.arrow = Arrow(simple)
        self.objects = Objects(simple) if objects else None
        self.code: list[int] = []
        self.calls: list[tuple[int, str]] = []
        self.least: dict[str, int] = {}
        self.most_calls = most_calls(simple)

    def compile(self) -> npt.NDArray[np.int64]:
        self.emit_cost(self.simple)
        self.emit(self.simple)
        self.add(RETURN)
        entries: dict[str, int] = {}
        while self.calls:
            at, name = self.calls.pop()
            if name not in entries:
                entries[name] = len(self.code)
                self.emit_cost(self.named[name])
                self.emit(self.named[name])
                self.add(RETURN)
            self.code[at + 1] = entries[name]
        return np.array(self.code, np.int64)

    def add(self, opcode: int, a: int = 0, b: int = 0) -> int:
        """Append an instruction and return its position."""
        self.code += (opcode, a, b)
        return len(self.code) - WIDTH

    def emit_cost(self, node: Any) -> None:
        """Count the object that is made of the value which comes."""
        if self.objects is not None:
            self.add(COST, self.objects.of(node))

    def emit(self, node: Any) -> None:
        if isinstance(node, list):
            self.emit_union(node)
        elif isinstance(node, str):
            self.emit_name(node)
        elif node["type"] == "record":
            for field in node["fields"]:
                self.emit(field["type"])
        elif node["type"] == "enum":
            self.add(ENUM, len(node["symbols"]))
        elif node["type"] in {"array", "map"}:
            self.emit_items(node)
        elif node.get("logicalType") == "decimal":
            self.emit_decimal(node)
        elif node["type"] == "fixed":
            self.emit_fixed(node["size"])
        else:
            self.emit_name(node["type"])

    def emit_name(self, name: str) -> None:
        if name in PRIMITIVE_CODE:
            self.add(*PRIMITIVE_CODE[name])
        elif name in self.named:
            if self.named[name]["type"] == "record":
                self.calls.append((self.add(CALL, 0, self.most_calls), name))
            else:
                self.emit(self.named[name])

    def emit_fixed(self, size: int) -> None:
        if size:  # an instruction without bytes would let an array of a few bytes run for ever
            self.add(SKIP, size)

    def emit_decimal(self, node: dict[str, Any]) -> None:
        limit = 10 ** node["precision"] - 1
        self.add(DECIMAL, node.get("size", -1))
        words = limit.to_bytes(8 * LIMIT_WORDS, "big")
        self.code += np.frombuffer(words, ">i8").tolist()

    def emit_union(self, branches: list[Any]) -> None:
        nullable = split_union(branches)
        if nullable:
            null, other = nullable
            at = self.add(NULLABLE, null)
            self.emit_cost(other)
            self.emit(other)
            self.code[at + 2] = len(self.code)
            return
        table = self.add(UNION, len(branches)) + WIDTH
        self.code += [0] * len(branches)
        ends = []
        for tag, branch in enumerate(branches):
            self.code[table + tag] = len(self.code)
            self.emit_cost(branch)
            self.emit(branch)
            ends.append(self.add(JUMP))
        for at in ends:
            self.code[at + 1] = len(self.code)

    def emit_items(self, node: dict[str, Any]) -> None:
        is_map = node["type"] == "map"
        item = node["values" if is_map else "items"]
        least = is_map + self.least_bytes(item)
        costs = unfolded_sizes(item, self.arrow, self.objects, is_map=is_map)
        begin = self.add(REPEAT, 0, least)
        self.code += costs
        if is_map:
            self.add(KEY)
        self.emit(item)
        self.add(AGAIN, begin + LOOP_WIDTH, least)
        self.code += costs
        self.code[begin + 1] = len(self.code)

    def least_bytes(self, node: Any) -> int:
        """Return the fewest bytes that a value can have; 0 for a recursive one, which is safe."""
        if isinstance(node, list):
            return 1
        if isinstance(node, str):
            return self.least_bytes_of(node) if node in self.named else LEAST_BYTES.get(node, 1)
        if node["type"] in {"record", "fixed"}:
            return self.least_bytes_of(node["name"])
        return LEAST_BYTES.get(node["type"], 1)

    def least_bytes_of(self, name: str) -> int:
        if name not in self.least:
            self.least[name] = 0
            node = self.named[name]
            size = 1 if node["type"] == "enum" else node.get("size", 0)
            size += sum(self.least_bytes(field["type"]) for field in node.get("fields", ()))
            self.least[name] = min(size, LEAST_BYTES_LIMIT)
        return self.least[name]
