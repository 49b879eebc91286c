"""The machine that carries the values of checked datums to Arrow's buffers: numba's machine code.

It runs twice: over some datums to count the rows of each level and the bytes of each text, and, when buffers
are made, over all to fill them. An instruction is `WIDTH` numbers: opcode, tag of null (-1: it has none),
number of the column (-1: it is passed over), level, and two operands. A level is what has rows of its own:
the datums, and the items of each array or map. `finkbridge.avro.columns` makes the programs.

Unlike the machine that checks (`finkbridge.avro.machine`) it refuses only what would lead it astray: it stays
within the datum and its buffers, whatever the bytes.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from finkbridge.avro.jit import compiled

# Constants are compiled in, and what numba keeps knows of this file alone
# whether it has changed: so they are all here.

# The opcodes, with their operands a and b.
STOP = 0
FIXED_4 = 1
FIXED_8 = 2
INT = 3
LONG = 4
TEXT = 5  # bytes, too
BOOLEAN = 6
ENUM = 7  # a: symbols
RECORD = 8  # a: target when null; only where it may be null
REPEAT = 9  # a: target behind the loop, b: level of the items; an array or a map starts
AGAIN = 10  # a: target of the first instruction of an item, b: level of the items; an item has ended
ABSENT = 11  # a list or text inside a record that is null
FIXED = 12  # a: bytes
DECIMAL = 13  # a: bytes of the number in Arrow, b: bytes of it in Avro, or -1 where a length precedes
JUMP = 14  # a: target

WIDTH = 6
A = 4
B = 5
"""Places of the operands in an instruction."""
MAX_LOOPS = 64
"""Arrays and maps inside each other: more than the bulk engine is given."""

U = np.uint64
"""Of every index: where it has a sign, numba looks each time whether it counts from the end."""

_BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
_INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C")


@numba.njit(inline="always")
def _number(data, at, end):  # type: ignore[no-untyped-def]  # numba infers
    """Return the zigzag number at `at` and the byte behind it, or -1 where the datum ends before.

    Not that of the machine that checks, which is longer, as it refuses what is overlong; and what numba keeps
    would not notice that it has changed.
    """
    number, shift = np.uint64(0), np.uint64(0)
    while at < end and shift < 70:
        byte = np.uint64(data[U(at)])
        at += 1
        number |= (byte & np.uint64(0x7F)) << shift
        if byte < 0x80:
            return np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1)), np.int64(at)
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@numba.njit(inline="always")
def _four(data, at):  # type: ignore[no-untyped-def]  # numba infers; one load in machine code
    return (
        np.uint32(data[U(at)])
        | np.uint32(data[U(at + 1)]) << np.uint32(8)
        | np.uint32(data[U(at + 2)]) << np.uint32(16)
        | np.uint32(data[U(at + 3)]) << np.uint32(24)
    )


@compiled(
    types.int64(
        _BYTES_IN,
        _INTS_IN,
        _INTS_IN,
        _INTS_IN,
        types.boolean,
        _INTS,
        _INTS,
        _INTS_IN,
        _INTS_IN,
        _INTS_IN,
        _INTS_IN,
        _INTS_IN,
        types.Array(types.uint8, 1, "C"),
        types.Array(types.uint32, 1, "C"),
        types.Array(types.uint64, 1, "C"),
    )
)
def run(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0911, PLR0912, PLR0913, PLR0915, PLR0917 - the machine
    data, starts, ends, program, fill, rows, used, most_rows, most_used,
    valid, values, texts, bytes_, words, longs,
):  # fmt: skip
    """Carry datums over; return how many: fewer where one is not what its program says, or has no room.

    Of each level `rows` has the rows so far and `most_rows` those that there is room for, of each column
    `used` and `most_used` the bytes of its texts. `bytes_`, `words` and `longs` are one memory, zero at
    first, in which each column begins: at byte `valid` its bits that are set where it is not null (-1: it has
    none), at `values` its values or offsets, in units of their size, and at byte `texts` its texts.
    """
    todo = np.zeros(MAX_LOOPS, np.int64)  # items left in each open block
    for datum in range(starts.shape[0]):
        at, end = starts[U(datum)], ends[U(datum)]
        step, loops = 0, 0
        while True:
            opcode, null, column = program[U(step)], program[U(step + 1)], program[U(step + 2)]
            stores = fill and column >= 0
            row = rows[U(program[U(step + 3)])] if stores else np.int64(0)
            if null >= 0:
                if at >= end or data[U(at)] & 0xFD != 0:  # no other tags than 0 and 1
                    return datum
                is_null = data[U(at)] >> 1 == null
                at += 1
                if is_null:
                    if stores and opcode in (TEXT, REPEAT):
                        words[U(values[U(column)] + row + 1)] = words[U(values[U(column)] + row)]
                    step = program[U(step + A)] if opcode in (RECORD, REPEAT) else step + WIDTH
                    continue
                if stores:
                    bytes_[U(valid[U(column)] + (row >> 3))] |= np.uint8(1 << (row & 7))
            if opcode == FIXED_4:
                if end - at < 4:
                    return datum
                if stores:
                    words[U(values[U(column)] + row)] = _four(data, at)
                at += 4
                step += WIDTH
            elif opcode == FIXED_8:
                if end - at < 8:
                    return datum
                if stores:
                    high = np.uint64(_four(data, at + 4)) << np.uint64(32)
                    longs[U(values[U(column)] + row)] = np.uint64(_four(data, at)) | high
                at += 8
                step += WIDTH
            elif opcode in (INT, LONG, ENUM):
                number, at = _number(data, at, end)
                if at < 0 or (opcode == ENUM and (number < 0 or number >= program[U(step + A)])):
                    return datum
                if stores:
                    if opcode == LONG:
                        longs[U(values[U(column)] + row)] = np.uint64(number)
                    else:
                        words[U(values[U(column)] + row)] = np.uint32(number)
                step += WIDTH
            elif opcode == TEXT:
                length, at = _number(data, at, end)
                if at < 0 or length < 0 or length > end - at:
                    return datum
                if column >= 0:
                    if used[U(column)] + length > most_used[U(column)]:
                        return datum
                    if fill:
                        to = texts[U(column)] + used[U(column)]
                        for i in range(length):
                            bytes_[U(to + i)] = data[U(at + i)]
                        words[U(values[U(column)] + row + 1)] = np.uint32(used[U(column)] + length)
                    used[U(column)] += length
                at += length
                step += WIDTH
            elif opcode in (REPEAT, AGAIN):
                a, b = program[U(step + A)], program[U(step + B)]
                if opcode == REPEAT:
                    todo[U(loops)] = 0
                    loops += 1
                    body, out = step + WIDTH, a
                else:
                    rows[U(b)] += 1
                    todo[U(loops - 1)] -= 1
                    body, out = a, step + WIDTH
                if todo[U(loops - 1)] > 0:
                    step = body
                    continue
                count, at = _number(data, at, end)
                if at >= 0 and count < 0:
                    count = -count
                    _, at = _number(data, at, end)  # the block's size
                if at < 0 or count < 0 or count > end - at:  # -2**63 has no negative; each item has a byte
                    return datum
                if rows[U(b)] + count > most_rows[U(b)]:
                    return datum
                if count == 0:
                    loops -= 1
                    if stores:
                        words[U(values[U(column)] + row + 1)] = np.uint32(rows[U(b)])
                    step = out
                else:
                    todo[U(loops - 1)] = count
                    step = body
            elif opcode == BOOLEAN:
                if at >= end:
                    return datum
                if stores and data[U(at)] != 0:
                    bytes_[U(values[U(column)] + (row >> 3))] |= np.uint8(1 << (row & 7))
                at += 1
                step += WIDTH
            elif opcode == RECORD:
                step += WIDTH
            elif opcode == ABSENT:
                if stores:
                    words[U(values[U(column)] + row + 1)] = words[U(values[U(column)] + row)]
                step += WIDTH
            elif opcode == JUMP:
                step = program[U(step + A)]
            elif opcode == FIXED:
                a = program[U(step + A)]
                if a > end - at:
                    return datum
                if stores:
                    to = values[U(column)] + row * a
                    for i in range(a):
                        bytes_[U(to + i)] = data[U(at + i)]
                at += a
                step += WIDTH
            elif opcode == DECIMAL:
                a, length = program[U(step + A)], program[U(step + B)]
                if length < 0:
                    length, at = _number(data, at, end)
                if at < 0 or length < 0 or length > end - at:
                    return datum
                if stores:
                    to = values[U(column)] + row * a
                    sign = np.uint8(0xFF) if length > 0 and data[U(at)] & 0x80 else np.uint8(0)
                    for i in range(a):  # the lowest first in Arrow, the highest first in Avro
                        bytes_[U(to + i)] = data[U(at + length - 1 - i)] if i < length else sign
                at += length
                step += WIDTH
            else:  # STOP
                break
        if at != end:
            return datum
        rows[0] += 1
    return starts.shape[0]
