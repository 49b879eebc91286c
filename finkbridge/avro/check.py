"""The strict check of datums against their writer schema: a small virtual machine over the raw bytes.

The bulk decoder trusts its input: bytes left over after a record make it spin for ever, an empty one is
dropped, a union tag out of range is taken for another. So every datum is walked first, at some GB/s. The
check is stricter than fastavro: what it accepts, both decode, and to the same values.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import fastavro
import numba
import numpy as np
import numpy.typing as npt
from numba import types

from finkbridge.avro.program import (
    AGAIN,
    BOOLEAN,
    BYTES,
    CALL,
    DECIMAL,
    ENUM,
    INT,
    JUMP,
    LIMIT_WORDS,
    LONG,
    NULLABLE,
    REPEAT,
    RETURN,
    SKIP,
    STRING,
    WIDTH,
    compile_program,
)
from finkbridge.avro.schemas import WriterSchema

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

REASONS = (
    "ok",
    "end of data",
    "bytes left over",
    "bad or overlong varint",
    "int out of 32 bits",
    "negative length",
    "union branch out of range",
    "enum index out of range",
    "boolean other than 0 or 1",
    "bad UTF-8",
    "wrong block byte size",
    "more items than the bytes can hold",
    "nested too deep",
    "empty value",
    "decimal beyond its precision",
)
"""The text of each status."""

CHUNK_BYTES = 32 << 10
"""Small datums are walked together, to spare calls; larger ones are walked where they are, not copied."""

MAX_CALLS = 100
"""Depth of a recursive value; beyond it Python's own recursion ends, which must print it as JSON."""
MAX_LOOPS = 1024
"""Arrays and maps inside each other: more than any schema within bounds times `MAX_CALLS` of a sane one."""

_BUFFER = types.Array(types.uint8, 1, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)


class Verdicts(NamedTuple):
    """What the check says of each datum."""

    status: npt.NDArray[np.int32]
    """Index into `REASONS`; 0 is good."""
    position: npt.NDArray[np.int64]
    """Byte of the datum at which the check stopped: the start of the value that it refused."""


class Checker:
    """The check for one writer schema."""

    def __init__(self, schema: WriterSchema) -> None:
        self._program = compile_program(schema.simple)

    def check(self, datums: Sequence[bytes]) -> Verdicts:
        """Return the verdict on each datum."""
        status = np.empty(len(datums), np.int32)
        position = np.empty(len(datums), np.int64)
        for first, last in _chunks(datums):
            sizes = np.fromiter(map(len, datums[first:last]), np.int64, last - first)
            ends = np.cumsum(sizes)
            joined = np.frombuffer(b"".join(datums[first:last]) or b"\0", np.uint8)
            _run(joined, ends - sizes, ends, self._program, status[first:last], position[first:last])
        return Verdicts(status, position)


def why(schema: WriterSchema, datum: bytes) -> str:
    """Return fastavro's own opinion of one datum: ``accepted``, or what it finds wrong, in one line."""
    stream = io.BytesIO(datum)
    try:
        fastavro.schemaless_reader(stream, schema.parsed, None)
    except Exception as error:  # noqa: BLE001 - hostile bytes make it raise anything, and that is the opinion
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    left = len(datum) - stream.tell()
    return f"{left} trailing bytes" if left else "accepted"


def _chunks(datums: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield half-open index ranges of at most `CHUNK_BYTES` bytes, or of one datum."""
    first, size = 0, 0
    for index, datum in enumerate(datums):
        if size and size + len(datum) > CHUNK_BYTES:
            yield first, index
            first, size = index, 0
        size += len(datum)
    if first < len(datums):
        yield first, len(datums)


def _compiled(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for one signature, once per installation where its result can be kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(*signature, nogil=True, cache=True)(function)
        except RuntimeError:  # numba finds no folder that it may write to
            return numba.njit(*signature, nogil=True)(function)

    return decorate


@numba.njit(inline="always")
def _varint(data, at, end):  # type: ignore[no-untyped-def]  # numba infers
    """Return the zigzag number at `at` and the byte behind it, or minus the reason."""
    number = np.uint64(0)
    shift = np.uint64(0)
    while True:
        if at >= end:
            return np.int64(0), np.int64(-END_OF_DATA)
        byte = np.uint64(data[at])
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


@_compiled(types.boolean(_BUFFER, types.int64, types.int64))
def _is_utf8(data, at, end):  # type: ignore[no-untyped-def]  # numba infers
    """Tell whether the bytes are UTF-8 as Unicode defines it: no overlong form, no surrogate."""
    while at < end:
        lead = data[at]
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
        if at + more >= end or data[at + 1] < low or data[at + 1] > high:
            return False
        for i in range(2, more + 1):
            if data[at + i] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@_compiled(types.boolean(_BUFFER, types.int64, types.int64, _INTS, types.int64))
def _fits_decimal(data, at, end, program, limit):  # type: ignore[no-untyped-def]  # noqa: C901 - by word and byte
    """Tell whether the two's complement bytes, the highest first, are a number within the limit."""
    if at >= end:
        return True
    sign = np.uint64(0xFF) if data[at] & 0x80 else np.uint64(0)
    while end - at > 8 * LIMIT_WORDS:
        if data[at] != sign:
            return False
        at += 1
    if (data[at] & 0x80) != (sign & np.uint64(0x80)):
        return False
    words = np.empty(LIMIT_WORDS, np.uint64)
    for word in range(LIMIT_WORDS):
        bits = np.uint64(0)
        for i in range(8):
            byte = end - 8 * (LIMIT_WORDS - word) + i
            bits = (bits << np.uint64(8)) | (np.uint64(data[byte]) if byte >= at else sign)
        words[word] = bits
    if sign:  # the magnitude of a negative number: inverted, plus one
        carry = np.uint64(1)
        for word in range(LIMIT_WORDS - 1, -1, -1):
            words[word] = ~words[word] + carry
            carry = np.uint64(1) if carry and words[word] == 0 else np.uint64(0)
    for word in range(LIMIT_WORDS):
        most = np.uint64(program[limit + word])
        if words[word] != most:
            return words[word] < most
    return True


@_compiled(
    types.void(
        _BUFFER,
        _INTS,
        _INTS,
        _INTS,
        types.Array(types.int32, 1, "C"),
        types.Array(types.int64, 1, "C"),
    )
)
def _run(data, starts, ends, program, status, position):  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0915 - one loop: the machine
    """Walk each datum; the most frequent instructions of an alert come first."""
    todo = np.zeros(MAX_LOOPS, np.int64)  # items left in each open block
    block_end = np.zeros(MAX_LOOPS, np.int64)  # where the block says that it ends, or -1
    back = np.zeros(MAX_CALLS, np.int64)
    for datum in range(starts.shape[0]):
        at, end = starts[datum], ends[datum]
        step, loops, calls = 0, 0, 0
        error = EMPTY if at == end else OK
        free_items = 4 * (end - at) + 1024  # of types that have no bytes: null, empty records
        while error == OK:
            opcode, a = program[step], program[step + 1]
            if opcode == NULLABLE:
                if at < end and (data[at] & 0xFD) == 0:  # the tags 0 and 1, as nearly all fields have them
                    tag, after = np.int64(data[at] >> 1), at + 1
                else:
                    tag, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                if tag not in (0, 1):
                    error = BAD_BRANCH
                    break
                at = after
                step = program[step + 2] if tag == a else step + WIDTH
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
            elif opcode in (BYTES, STRING):
                length, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                elif length < 0:
                    error = NEGATIVE_LENGTH
                elif length > end - after:
                    error = END_OF_DATA
                elif opcode == STRING and not _is_utf8(data, after, after + length):
                    error = BAD_UTF8
                if error != OK:
                    break
                at = after + length
                step += WIDTH
            elif opcode == BOOLEAN:
                if at >= end:
                    error = END_OF_DATA
                    break
                if data[at] > 1:
                    error = BAD_BOOLEAN
                    break
                at += 1
                step += WIDTH
            elif opcode in (REPEAT, AGAIN):
                if opcode == REPEAT:
                    if loops >= MAX_LOOPS:
                        error = TOO_DEEP
                        break
                    todo[loops] = 0
                    block_end[loops] = -1
                    loops += 1
                    body, out = step + WIDTH, a
                else:
                    todo[loops - 1] -= 1
                    body, out = a, step + WIDTH
                if todo[loops - 1] > 0:
                    step = body
                    continue
                if block_end[loops - 1] >= 0 and block_end[loops - 1] != at:
                    error = BAD_BLOCK_SIZE
                    break
                count, after = _varint(data, at, end)
                if after < 0:
                    error = -after
                    break
                size, block_end[loops - 1] = 0, -1
                if count < 0:
                    size, after = _varint(data, after, end)
                    if after < 0:
                        error = -after
                        break
                    if size < 0 or size > end - after:
                        error = BAD_BLOCK_SIZE
                        break
                    block_end[loops - 1] = after + size
                    count = -count
                least = program[step + 2]
                if count < 0 or (least > 0 and count > (end - after) // least):  # -2**63 has no negative
                    error = TOO_MANY_ITEMS
                    break
                if least == 0:
                    if count > free_items:
                        error = TOO_MANY_ITEMS
                        break
                    free_items -= count
                at = after
                if count == 0:
                    loops -= 1
                    step = out
                else:
                    todo[loops - 1] = count
                    step = body
            elif opcode == RETURN:
                if calls == 0:
                    break
                calls -= 1
                step = back[calls]
            elif opcode == CALL:
                if calls >= MAX_CALLS:
                    error = TOO_DEEP
                    break
                back[calls] = step + WIDTH
                calls += 1
                step = a
            elif opcode == JUMP:
                step = a
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
                step = step + WIDTH if opcode == ENUM else program[step + WIDTH + index]
        if error == OK and at != end:
            error = TRAILING_BYTES
        status[datum] = error
        position[datum] = at - starts[datum]
