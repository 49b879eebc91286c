"""Checked datums to Arrow in bulk: each value goes where it stays, and nothing else is made of it.

The writer schema becomes a program (`finkbridge.avro.gather`) and a tree of columns. The program runs over
some datums to guess how large each buffer must be, and over all to fill it; the columns are Arrow's view of
the buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finkbridge.avro import gather
from finkbridge.avro.arrow import Mapping
from finkbridge.avro.gather import WIDTH
from finkbridge.avro.joined import joined, total_bytes
from finkbridge.avro.rewrite import definitions, split_union
from finkbridge.avro.unfold import WIDE_DECIMAL
from finkbridge.errors import DecodeError, SchemaError

Ints = npt.NDArray[np.int64]

NO_COLUMN = -1
NO_NULL = -1
MOST_OFFSET = 2**31 - 1
"""Of texts and items in one column of Arrow's usual types."""
SAMPLED = 4
"""One of so many datums tells what all of them take."""
MARGIN = 1.5
"""By which a guess is larger than what they say: histories differ much from alert to alert."""
SLACK = 4096
"""Rows and bytes by which it is larger, too, for what few datums have."""
MODEST_BYTES = 8 << 20
GENEROUS = 2
"""Room is guessed up to so many bytes, and so many for each byte of the datums: else it is counted."""
ALIGNMENT = 64
"""Of buffers, as Arrow recommends it."""

PLAIN = {
    "int": (gather.INT, 4),
    "long": (gather.LONG, 8),
    "float": (gather.FIXED_4, 4),
    "double": (gather.FIXED_8, 8),
}
"""Opcode and bytes in Arrow of the types that have as many whatever the value."""
FIXED_CODE = {4: gather.FIXED_4, 8: gather.FIXED_8}
"""Of fixed types of these sizes, which are copied as numbers are."""

Shape = Literal["fixed", "bits", "text", "enum", "list", "record"]


@dataclass(slots=True, eq=False)
class _Node:
    """A column, and how its buffers are made and shown."""

    number: int
    type: Any
    """The Arrow type."""
    level: int
    """Whose rows it has."""
    is_nullable: bool
    shape: Shape
    width: int = 0
    """Bytes of a value, of the shapes ``fixed`` and ``enum``."""
    children: list[_Node] = field(default_factory=list)
    symbols: Any = None
    """Of an enum: its dictionary."""


class Program:
    """Decodes some columns of one writer schema, which the bulk engine must be able to.

    Parameters
    ----------
    simple
        The rewritten schema, a record.
    mapping
        Its Arrow types.
    wanted
        Names of the top-level columns; the others are passed over.
    """

    def __init__(self, simple: Any, mapping: Mapping, wanted: Sequence[str]) -> None:
        compiler = _Compiler(simple)
        chosen = set(wanted)
        columns = {
            name: compiler.emit(f["type"], column.type if name in chosen else None, 0)
            for f, (name, column) in zip(simple["fields"], mapping.columns.items(), strict=True)
        }
        compiler.add(gather.STOP)
        self._schema = pa.schema([mapping.schema.field(name) for name in wanted])
        self._columns = [node for name in wanted if (node := columns[name]) is not None]
        self._nodes = compiler.nodes
        self._levels = compiler.levels
        self._code = np.array(compiler.code, np.int64)

    def decode(self, datums: Sequence[bytes]) -> Any:
        """Return the table of datums.

        Raises
        ------
        DecodeError
            A datum is not of the schema, or Arrow cannot hold so much in one column.
        """
        guess = self._guess(datums)
        memory = None
        if _layout(self._nodes, guess).bytes <= MODEST_BYTES + GENEROUS * total_bytes(datums):
            memory = self._fill(datums, guess)
        if memory is None:  # the guess was too small, or so large that memory would suffer
            memory = self._fill(datums, self._count(datums))
        if memory is None:
            raise DecodeError("the datums changed while they were decoded")
        arrays = [memory.array(node) for node in self._columns]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _guess(self, datums: Sequence[bytes]) -> _Sizes:
        """Return room for datums, by what some of them take: to count all takes half as long as to fill."""
        some = self._count(datums[::SAMPLED])
        rows, used = ((SAMPLED * MARGIN * counts).astype(np.int64) + SLACK for counts in some)
        rows[0] = len(datums)
        return _Sizes(np.minimum(rows, MOST_OFFSET), np.minimum(used, MOST_OFFSET))

    def _fill(self, datums: Sequence[bytes], room: _Sizes) -> _Memory | None:
        """Return the filled memory; None where there was not room enough, or a datum is not of the schema."""
        memory = _Memory(self._nodes, room)
        return memory if self._run(datums, memory) == len(datums) else None

    def _count(self, datums: Sequence[bytes]) -> _Sizes:
        counter = _Memory((), _Sizes(*(np.full(n, MOST_OFFSET) for n in (self._levels, len(self._nodes)))))
        done = self._run(datums, counter)
        if done < len(datums):
            problem = "is not what its schema says, or makes a column too large for Arrow"
            raise DecodeError(f"datum {done} of {len(datums)} {problem}")
        return counter.sizes

    def _run(self, datums: Sequence[bytes], memory: _Memory) -> int:
        """Fill a memory, or let one without columns count; return how many datums were carried over."""
        most, memory.sizes = memory.sizes, _Sizes(*(np.zeros_like(counts) for counts in memory.sizes))
        places = memory.valid, memory.values, memory.texts
        views = memory.bytes, memory.bytes.view(np.uint32), memory.bytes.view(np.uint64)
        done = 0
        for first, data, starts, ends in joined(datums):
            if first > done:
                break
            done += int(
                gather.run(
                    data, starts, ends, self._code, bool(memory.nodes), *memory.sizes, *most, *places, *views
                )
            )
        return done


class _Sizes(NamedTuple):
    """What columns take, or have room for."""

    rows: Ints
    """Of each level."""
    used: Ints
    """Bytes of the texts of each column."""


class _Layout(NamedTuple):
    """Where in one memory each column begins: see `finkbridge.avro.gather.run`."""

    valid: Ints
    values: Ints
    texts: Ints
    bytes: int
    """Of the whole memory."""


def _layout(nodes: Sequence[_Node], sizes: _Sizes) -> _Layout:
    valid, values, texts = (np.full(len(nodes), -1) for _ in range(3))
    end = 0

    def take(size: int) -> int:
        nonlocal end
        begin, end = end, end + -(-size // ALIGNMENT) * ALIGNMENT
        return begin

    for node in nodes:
        rows = int(sizes.rows[node.level])
        if node.is_nullable:
            valid[node.number] = take(_bit_bytes(rows))
        values[node.number] = take(_value_bytes(node, rows)) // _unit(node)
        texts[node.number] = take(int(sizes.used[node.number]))
    return _Layout(valid, values, texts, end)


class _Memory:
    """All buffers of some columns, in one piece: what keeps one of them keeps all."""

    def __init__(self, nodes: Sequence[_Node], sizes: _Sizes) -> None:
        self.nodes, self.sizes = nodes, sizes
        self.valid, self.values, self.texts, size = _layout(nodes, sizes)
        whole = np.zeros(size + ALIGNMENT, np.uint8)
        begin = -whole.ctypes.data % ALIGNMENT
        self.bytes = whole[begin : begin + size]
        self._buffer = pa.py_buffer(self.bytes)

    def array(self, node: _Node) -> Any:
        """Return the filled column, which keeps the memory alive."""
        rows = int(self.sizes.rows[node.level])
        validity = self._slice(self.valid[node.number], _bit_bytes(rows)) if node.is_nullable else None
        if node.shape == "record":
            return pa.Array.from_buffers(node.type, rows, [validity], children=self._arrays(node))
        begin = int(self.values[node.number]) * _unit(node)
        buffers = [validity, self._slice(begin, _value_bytes(node, rows))]
        if node.shape == "enum":
            indices = pa.Array.from_buffers(pa.int32(), rows, buffers)
            return pa.DictionaryArray.from_arrays(indices, node.symbols)
        if node.shape == "text":
            buffers.append(self._slice(self.texts[node.number], int(self.sizes.used[node.number])))
        if node.shape == "list":
            return pa.Array.from_buffers(node.type, rows, buffers, children=self._arrays(node))
        return pa.Array.from_buffers(node.type, rows, buffers)

    def _arrays(self, node: _Node) -> list[Any]:
        return [self.array(child) for child in node.children]

    def _slice(self, begin: int, size: int) -> Any:
        return self._buffer.slice(int(begin), size)


def _bit_bytes(rows: int) -> int:
    return (rows + 7) // 8


def _unit(node: _Node) -> int:
    """Return the size in which the machine counts where a column's values begin."""
    if node.shape in {"text", "list"}:
        return 4
    return node.width if node.shape in {"fixed", "enum"} and node.width in {4, 8} else 1


def _value_bytes(node: _Node, rows: int) -> int:
    if node.shape in {"text", "list"}:
        return 4 * (rows + 1)
    return _bit_bytes(rows) if node.shape == "bits" else node.width * rows


class _Compiler:
    """One pass over a schema: each use of a named type is expanded anew, as its columns are others."""

    def __init__(self, simple: Any) -> None:
        self.named = definitions(simple)
        self.code: list[int] = []
        self.nodes: list[_Node] = []
        """Those that are wanted, by number."""
        self.levels = 1

    def emit(self, avro: Any, arrow: Any, level: int, null: int = NO_NULL) -> _Node | None:
        """Compile a value; return its column, None where no Arrow type is given: then it is passed over."""
        if isinstance(avro, list):
            null, other = _nullable(avro)
            return self.emit(other, arrow, level, null)
        if isinstance(avro, str) and avro in self.named:
            avro = self.named[avro]
        kind = avro if isinstance(avro, str) else avro["type"]
        if kind == "record":
            return self.emit_record(avro, arrow, level, null)
        if kind in {"array", "map"}:
            return self.emit_items(avro, arrow, level, null)
        return self.emit_leaf(kind, {} if isinstance(avro, str) else avro, arrow, level, null)

    def emit_record(self, avro: dict[str, Any], arrow: Any, level: int, null: int) -> _Node | None:
        node = self.node(arrow, level, null, "record")
        begin = self.add(gather.RECORD, null, node, level) if null != NO_NULL else NO_COLUMN
        kinds = [None] * len(avro["fields"]) if arrow is None else [field.type for field in arrow]
        fields = [self.emit(f["type"], kind, level) for f, kind in zip(avro["fields"], kinds, strict=True)]
        self.adopt(node, fields)
        if begin != NO_COLUMN:
            self.emit_absent(begin, node)
        return node

    def emit_absent(self, begin: int, record: _Node | None) -> None:
        """Compile what is done instead where a record is null: texts and lists begin and end at a place."""
        absent = [] if record is None else list(_offsets_of(record))
        jump = self.add(gather.JUMP) if absent else NO_COLUMN
        self.code[begin + gather.A] = len(self.code)
        for node in absent:
            self.add(gather.ABSENT, NO_NULL, node, node.level)
        if absent:
            self.code[jump + gather.A] = len(self.code)

    def emit_items(self, avro: dict[str, Any], arrow: Any, level: int, null: int) -> _Node | None:
        node = self.node(arrow, level, null, "list")
        items, self.levels = self.levels, self.levels + 1
        begin = self.add(gather.REPEAT, null, node, level, 0, items)
        child = self.emit_item(avro, arrow, items)
        self.add(gather.AGAIN, NO_NULL, node, level, begin + WIDTH, items)
        self.code[begin + gather.A] = len(self.code)
        self.adopt(node, [child])
        return node

    def emit_item(self, avro: dict[str, Any], arrow: Any, level: int) -> _Node | None:
        if avro["type"] == "array":
            return self.emit(avro["items"], None if arrow is None else arrow.value_type, level)
        entry = self.node(None if arrow is None else _entry_type(arrow), level, NO_NULL, "record")
        key = self.emit_leaf("string", {}, None if arrow is None else arrow.key_type, level, NO_NULL)
        value = self.emit(avro["values"], None if arrow is None else arrow.item_type, level)
        self.adopt(entry, [key, value])
        return entry

    def emit_leaf(self, kind: str, avro: dict[str, Any], arrow: Any, level: int, null: int) -> _Node | None:
        opcode, shape, width, a, b = _leaf(kind, avro)
        node = self.node(arrow, level, null, shape, width)
        if node is not None and kind == "enum":
            node.symbols = pa.array(avro["symbols"], pa.string())
        self.add(opcode, null, node, level, a, b)
        return node

    def node(self, arrow: Any, level: int, null: int, shape: Shape, width: int = 0) -> _Node | None:
        if arrow is None:
            return None
        self.nodes.append(_Node(len(self.nodes), arrow, level, null != NO_NULL, shape, width))
        return self.nodes[-1]

    def adopt(self, node: _Node | None, children: Sequence[_Node | None]) -> None:
        if node is not None:
            node.children = [child for child in children if child is not None]

    def add(
        self,
        opcode: int,
        null: int = NO_NULL,
        node: _Node | None = None,
        level: int = 0,
        a: int = 0,
        b: int = 0,
    ) -> int:
        """Append an instruction and return its position."""
        self.code += (opcode, null, NO_COLUMN if node is None else node.number, level, a, b)
        return len(self.code) - WIDTH


def _leaf(kind: str, avro: dict[str, Any]) -> tuple[int, Shape, int, int, int]:
    """Return opcode, shape, bytes in Arrow, and operands of a type that has no others inside."""
    if avro.get("logicalType") == "decimal":
        width = 32 if avro["precision"] > WIDE_DECIMAL else 16
        return gather.DECIMAL, "fixed", width, width, avro.get("size", -1)
    if kind == "fixed":
        size = avro["size"]
        return FIXED_CODE.get(size, gather.FIXED), "fixed", size, size, 0
    if kind == "enum":
        return gather.ENUM, "enum", 4, len(avro["symbols"]), 0
    if kind in PLAIN:
        opcode, width = PLAIN[kind]
        return opcode, "fixed", width, 0, 0
    return (gather.BOOLEAN, "bits", 0, 0, 0) if kind == "boolean" else (gather.TEXT, "text", 0, 0, 0)


def _nullable(union: list[Any]) -> tuple[int, Any]:
    parts = split_union(union)
    if parts is None:
        raise SchemaError("the bulk engine decodes no union of other than null and one type")
    return parts


def _entry_type(arrow: Any) -> Any:
    return pa.struct([arrow.key_field, arrow.item_field])


def _offsets_of(record: _Node) -> Iterator[_Node]:
    """Yield what has offsets among the columns of a record's own rows, at any depth."""
    for node in record.children:
        if node.shape in {"text", "list"}:
            yield node
        elif node.shape == "record":
            yield from _offsets_of(node)
