"""The machine that walks the bytes of datums: numba's machine code, compiled once per installation.

An instruction is three numbers: opcode and two operands. A union's targets and a decimal's limit
follow it as more numbers. Targets are positions in the program, which `finkbridge.avro.program` makes.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from finkbridge.avro.jit import compiled

# Constants are compiled in, and what numba keeps knows of this file alone
# whether it has changed: so they are all here.

# The opcodes, with their operands a and b. Plain numbers, as numba takes them for constants.
SKIP = 0  # a: bytes of any value (float, double, fixed)
LONG = 1
INT = 2
BYTES = 3
STRING = 4
BOOLEAN = 5
NULLABLE = 6  # a: tag of null, b: target when null
UNION = 7  # a: branches; their targets follow
JUMP = 8  # a: target
ENUM = 9  # a: symbols
REPEAT = 10  # a: target behind the loop, b: least bytes of an item; an array or a map starts
AGAIN = 11  # a: target of the item, b: as before; an item has ended
CALL = 12  # a: target, b: calls that may be open, at most MAX_CALLS
RETURN = 13
DECIMAL = 14  # a: bytes, or -1 where a length precedes; the limit follows as LIMIT_WORDS words
KEY = 15  # of a map: a string that the map has only once
COST = 16  # a: bytes that Python takes for the value that comes

WIDTH = 3
LOOP_WIDTH = 5
"""Of REPEAT and AGAIN: bytes of an item in Arrow follow, and bytes of its object in Python, or 0."""
LIMIT_WORDS = 4
"""The greatest magnitude of a decimal, as 64-bit words, the highest first."""

# What becomes of a datum; `finkbridge.avro.check.REASONS` has the texts.
OK = 0
END_OF_DATA = 1
TRAILING_BYTES = 2
BAD_VARINT = 3
INT_OVERFLOW = 4
NEGATIVE_LENGTH = 5
BAD_BRANCH = 6
BAD_SYMBOL = 7
BAD_BOOLEAN = 8
BAD_UTF8 = 9
BAD_BLOCK_SIZE = 10
TOO_MANY_ITEMS = 11
TOO_DEEP = 12
EMPTY = 13
BAD_DECIMAL = 14
KEY_TWICE = 15
TOO_LARGE = 16

MAX_UNFOLDED_BYTES = 96 << 20
"""Of a datum once decoded, see `finkbridge.avro.unfold`: an honest alert takes some times its bytes."""

MAX_CALLS = 100
"""Depth of a recursive value; `finkbridge.avro.program.most_calls` has less for schemas that are deep."""
MAX_LOOPS = 1024
"""Arrays and maps inside each other: more than any schema within bounds times `MAX_CALLS` of a sane one."""

U = np.uint64
"""Of every index: where it has a sign, numba looks each time whether it counts from the end."""

_BUFFER = types.Array(types.uint8, 1, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_KEYS = types.Array(types.int64, 2, "C")


@numba.njit(inline="always")
def _varint(data, at, end):  # type: ignore[no-untyped-def]  # numba infers
    """Return the zigzag number at `at` and the byte behind it, or minus the reason."""
    number = np.uint64(0)
    shift = np.uint64(0)
    while True:
        if at >= end:
            return np.int64(0), np.int64(-END_OF_DATA)
        byte = np.uint64(data[U(at)])
        at += 1
        number |= (byte & np.uint64(0x7F)) << shift
        if byte < 0x80:
            break
        shift += np.uint64(7)
        if shift > 63:
            return np.int64(0), np.int64(-BAD_VARINT)
    if (shift == 63 and byte > 1) or (shift > 0 and byte == 0):  # beyond 64 bits, or longer than need be
        return np.int64(0), np.int64(-BAD_VARINT)
    return np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1)), np.int64(at)


@numba.njit(inline="always")
def _is_ascii(data, at, end):  # type: ignore[no-untyped-def]  # numba infers; machine code takes many at a time
    bits = np.uint8(0)
    for i in range(U(at), U(end)):
        bits |= data[i]
    return bits < 0x80


@compiled(types.boolean(_BUFFER, types.int64, types.int64))
def _is_utf8(data, at, end):  # type: ignore[no-untyped-def]  # numba infers
    """Tell whether the bytes are UTF-8 as Unicode defines it: no overlong form, no surrogate."""
    while at < end:
        lead = data[U(at)]
        if lead < 0x80:
            at += 1
            continue
        low, high = 0x80, 0xBF  # bounds of the second byte
        if 0xC2 <= lead < 0xE0:
            more = 1
        elif 0xE0 <= lead < 0xF0:
            more = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            high = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead < 0xF5:
            more = 3
            low = 0x90 if lead == 0xF0 else 0x80
            high = 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if at + more >= end or data[U(at + 1)] < low or data[U(at + 1)] > high:
            return False
        for i in range(2, more + 1):
            if data[U(at + i)] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@compiled(types.boolean(_BUFFER, types.int64, types.int64, _INTS, types.int64))
def _fits_decimal(data, at, end, program, limit):  # type: ignore[no-untyped-def]  # noqa: C901 - by word and byte
    """Tell whether the two's complement bytes, the highest first, are a number within the limit."""
    if at >= end:
        return True
    sign = np.uint64(0xFF) if data[U(at)] & 0x80 else np.uint64(0)
    while end - at > 8 * LIMIT_WORDS:
        if data[U(at)] != sign:
            return False
        at += 1
    if (data[U(at)] & 0x80) != (sign & np.uint64(0x80)):
        return False
    words = np.empty(LIMIT_WORDS, np.uint64)
    for word in range(LIMIT_WORDS):
        bits = np.uint64(0)
        for i in range(8):
            byte = end - 8 * (LIMIT_WORDS - word) + i
            bits = (bits << np.uint64(8)) | (np.uint64(data[U(byte)]) if byte >= at else sign)
        words[U(word)] = bits
    if sign:  # the magnitude of a negative number: inverted, plus one
        carry = np.uint64(1)
        for word in range(LIMIT_WORDS - 1, -1, -1):
            words[U(word)] = ~words[U(word)] + carry
            carry = np.uint64(1) if carry and words[U(word)] == 0 else np.uint64(0)
    for word in range(LIMIT_WORDS):
        most = np.uint64(program[U(limit + word)])
        if words[U(word)] != most:
            return words[U(word)] < most
    return True


@compiled(types.int64(_KEYS, _BUFFER, types.int64, types.int64, types.int64))
def _place(keys, data, owner, start, end):  # type: ignore[no-untyped-def]  # numba infers
    """Return the place of a key of a map, its owner: a row that has it, or the free one where it goes."""
    digest = np.uint64(14695981039346656037) ^ np.uint64(owner)  # FNV-1a
    for at in range(start, end):
        digest = (digest ^ np.uint64(data[U(at)])) * np.uint64(1099511628211)
    mask = keys.shape[0] - 1
    place = np.int64((digest ^ (digest >> np.uint64(32))) & np.uint64(mask))
    while keys[U(place), 0] != 0:
        if keys[U(place), 0] == owner and keys[U(place), 2] - keys[U(place), 1] == end - start:
            same = True
            for i in range(end - start):
                if data[U(keys[U(place), 1] + i)] != data[U(start + i)]:
                    same = False
                    break
            if same:
                return place
        place = (place + 1) & mask
    return place


@compiled(
    types.int64(
        _BUFFER,
        _INTS,
        _INTS,
        _INTS,
        types.Array(types.int32, 1, "C"),
        types.Array(types.int64, 2, "C"),
        _KEYS,
    )
)
def run(data, starts, ends, program, status, found, keys):  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - one loop: the machine
    """Walk each datum and return how many were: fewer where the table of map keys is full.

    The most frequent instructions of an alert come first. A row of `keys` is owner, start and end of a key.
    A row of `found` is the byte where the walk ended, and the bytes that items take in Arrow and in Python.
    """
    todo = np.zeros(MAX_LOOPS, np.int64)  # items left in each open block
    block_end = np.zeros(MAX_LOOPS, np.int64)  # where the block says that it ends, or -1
    back = np.zeros(MAX_CALLS, np.int64)
    owner = np.zeros(MAX_LOOPS, np.int64)  # number of each open map in its datum, from 1
    for datum in range(starts.shape[0]):
        at, end = starts[U(datum)], ends[U(datum)]
        step, loops, calls = 0, 0, 0
        maps, known = 0, 0
        keys[:, 0] = 0
        error = EMPTY if at == end else OK
        free_items = 4 * (end - at) + 1024  # of types that have no bytes: null, empty records
        unfolded, objects = np.int64(0), np.int64(0)
        while error == OK:
            opcode, a = program[U(step)], program[U(step + 1)]
            if opcode == NULLABLE:
                if at < end and (data[U(at)] & 0xFD) == 0:  # the tags 0 and 1, as nearly all fields have them
                    tag, after = np.int64(data[U(at)] >> 1), at + 1
                else:
                    tag, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                if tag not in (0, 1):
                    error = BAD_BRANCH
                    break
                at = after
                step = program[U(step + 2)] if tag == a else step + WIDTH
            elif opcode == SKIP:
                if a > end - at:
                    error = END_OF_DATA
                    break
                at += a
                step += WIDTH
            elif opcode in (LONG, INT):
                number, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                if opcode == INT and (number > 2147483647 or number < -2147483648):
                    error = INT_OVERFLOW
                    break
                at = after
                step += WIDTH
            elif opcode in (BYTES, STRING, KEY):
                length, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                elif length < 0:
                    error = NEGATIVE_LENGTH
                elif length > end - after:
                    error = END_OF_DATA
                elif (
                    opcode != BYTES
                    and not _is_ascii(data, after, after + length)
                    and not _is_utf8(data, after, after + length)
                ):
                    error = BAD_UTF8
                if error != OK:
                    break
                if opcode == KEY:
                    place = _place(keys, data, owner[U(loops - 1)], after, after + length)
                    if keys[U(place), 0] != 0:
                        error = KEY_TWICE
                        break
                    keys[U(place), 0], keys[U(place), 1], keys[U(place), 2] = (
                        owner[U(loops - 1)],
                        after,
                        after + length,
                    )
                    known += 1
                    if 2 * known > keys.shape[0]:
                        return datum
                at = after + length
                step += WIDTH
            elif opcode == BOOLEAN:
                if at >= end:
                    error = END_OF_DATA
                    break
                if data[U(at)] > 1:
                    error = BAD_BOOLEAN
                    break
                at += 1
                step += WIDTH
            elif opcode in (REPEAT, AGAIN):
                if opcode == REPEAT:
                    if loops >= MAX_LOOPS:
                        error = TOO_DEEP
                        break
                    todo[U(loops)] = 0
                    block_end[U(loops)] = -1
                    maps += 1
                    owner[U(loops)] = maps
                    loops += 1
                    body, out = step + LOOP_WIDTH, a
                else:
                    todo[U(loops - 1)] -= 1
                    body, out = a, step + LOOP_WIDTH
                if todo[U(loops - 1)] > 0:
                    step = body
                    continue
                if block_end[U(loops - 1)] >= 0 and block_end[U(loops - 1)] != at:
                    error = BAD_BLOCK_SIZE
                    break
                count, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                size, block_end[U(loops - 1)] = 0, -1
                if count < 0:
                    size, after = _varint(data, after, end)
                    if after < 0:
                        error = -after
                        break
                    if size < 0 or size > end - after:
                        error = BAD_BLOCK_SIZE
                        break
                    block_end[U(loops - 1)] = after + size
                    count = -count
                least = program[U(step + 2)]
                if count < 0 or (least > 0 and count > (end - after) // least):  # -2**63 has no negative
                    error = TOO_MANY_ITEMS
                    break
                if least == 0:
                    if count > free_items:
                        error = TOO_MANY_ITEMS
                        break
                    free_items -= count
                unfolded += count * program[U(step + 3)]
                objects += count * program[U(step + 4)]
                if unfolded + objects > MAX_UNFOLDED_BYTES:
                    error = TOO_LARGE
                    break
                at = after
                if count == 0:
                    loops -= 1
                    step = out
                else:
                    todo[U(loops - 1)] = count
                    step = body
            elif opcode == RETURN:
                if calls == 0:
                    break
                calls -= 1
                step = back[U(calls)]
            elif opcode == CALL:
                if calls >= program[U(step + 2)]:
                    error = TOO_DEEP
                    break
                back[U(calls)] = step + WIDTH
                calls += 1
                step = a
            elif opcode == JUMP:
                step = a
            elif opcode == COST:
                objects += a
                if unfolded + objects > MAX_UNFOLDED_BYTES:
                    error = TOO_LARGE
                    break
                step += WIDTH
            elif opcode == DECIMAL:
                length, after = a, at
                if a < 0:
                    length, after = _varint(data, at, end)
                    if after < 0:
                        error = -after
                        break
                if length < 0:
                    error = NEGATIVE_LENGTH
                elif length > end - after:
                    error = END_OF_DATA
                elif not _fits_decimal(data, after, after + length, program, step + WIDTH):
                    error = BAD_DECIMAL
                if error != OK:
                    break
                at = after + length
                step += WIDTH + LIMIT_WORDS
            else:  # ENUM or UNION
                index, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                if index < 0 or index >= a:
                    error = BAD_SYMBOL if opcode == ENUM else BAD_BRANCH
                    break
                at = after
                step = step + WIDTH if opcode == ENUM else program[U(step + WIDTH + index)]
        if error == OK and at != end:
            error = TRAILING_BYTES
        status[U(datum)] = error
        found[U(datum), 0], found[U(datum), 1], found[U(datum), 2] = at - starts[U(datum)], unfolded, objects
    return starts.shape[0]
