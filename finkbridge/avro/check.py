"""The strict check of datums against their writer schema: a small virtual machine over the raw bytes.

Bulk decoders trust their input: of bytes that are no datum they make rows of nonsense, and some hang or
die. So every datum is walked first, at some GB/s. The check is stricter than fastavro: what it accepts, all
decode, and to the same values.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt

from finkbridge.avro.bounds import is_bounded
from finkbridge.avro.bulk import bulk_refusal
from finkbridge.avro.joined import Joined, joined
from finkbridge.avro.machine import MAX_UNFOLDED_BYTES, OK, TOO_LARGE, TRAILING_BYTES, run
from finkbridge.avro.program import compile_program
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.unfold import Arrow

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
    "map key twice",
    f"more than {MAX_UNFOLDED_BYTES} bytes once decoded",
)
"""The text of each status."""

MOST_ASKED_BYTES = 500_000
"""Of a datum of which fastavro is asked: it may make 200 bytes of one."""

FIRST_KEYS = 64
"""Places for the map keys of a datum to begin with; there are always twice as many as keys."""


class Verdicts(NamedTuple):
    """What the check says of each datum."""

    status: npt.NDArray[np.int32]
    """Index into `REASONS`; 0 is good."""
    position: npt.NDArray[np.int64]
    """Byte of the datum at which the check stopped: the start of the value that it refused."""
    unfolded: npt.NDArray[np.int64]
    """Bytes that the datum's places in columns take in Arrow; see `finkbridge.avro.unfold`."""
    objects: npt.NDArray[np.int64]
    """Bytes that the datum takes in Python; 0 where that is not counted."""


class Split(NamedTuple):
    """The datums of a block."""

    datums: list[bytes]
    """Those before the first that is refused."""
    reason: str
    """Why the next is refused, or what is left behind the last; empty where all is well."""
    position: int
    """Byte of the block at which the check stopped."""


class Checker:
    """The check for one writer schema.

    Parameters
    ----------
    schema
        The writer schema.
    careful
        Whether fastavro decodes the datums, whose objects are counted then, even if the bulk engine could.
    """

    def __init__(self, schema: WriterSchema, *, careful: bool = False) -> None:
        objects = careful or bulk_refusal(schema) is not None
        self._program = compile_program(schema.simple, objects=objects)
        self._row_bytes = Arrow(schema.simple).of(schema.simple)

    def check(self, datums: Sequence[bytes]) -> Verdicts:
        """Return the verdict on each datum."""
        status = np.empty(len(datums), np.int32)
        found = np.empty((len(datums), 3), np.int64)
        for some in joined(datums):
            mine = slice(some.first, some.first + len(some.ends))
            self._check_joined(some, status[mine], found[mine])
        position, unfolded, made = found.T
        return Verdicts(status, position, unfolded + self._row_bytes, made)

    def split(self, block: bytes, count: int) -> Split:
        """Part a block of `count` datums in a row, which only their schema parts."""
        found: list[bytes] = []
        at = 0
        data = np.frombuffer(block or b"\0", np.uint8)
        for _ in range(count):
            status, size = self._walk(data, at, len(block))
            if status not in {OK, TRAILING_BYTES}:
                return Split(found, REASONS[status], at + size)
            found.append(block[at : at + size])
            at += size
        return Split(found, REASONS[TRAILING_BYTES] if at < len(block) else "", at)

    def _walk(self, data: npt.NDArray[np.uint8], start: int, end: int) -> tuple[int, int]:
        status, found = np.empty(1, np.int32), np.empty((1, 3), np.int64)
        starts, ends, places = np.array([start], np.int64), np.array([end], np.int64), FIRST_KEYS
        while not run(
            data, starts, ends, self._program, status, found, np.zeros((places, 3), np.int64)
        ):  # its table of map keys is full
            places *= 2
        return int(status[0]), int(found[0, 0])

    def _check_joined(
        self, some: Joined, status: npt.NDArray[np.int32], found: npt.NDArray[np.int64]
    ) -> None:
        _, data, starts, ends = some
        done, places = 0, FIRST_KEYS
        while done < len(ends):
            keys = np.zeros((places, 3), np.int64)
            done += run(data, starts[done:], ends[done:], self._program, status[done:], found[done:], keys)
            places *= 2


def why(schema: WriterSchema, datum: bytes, status: int = OK) -> str:
    """Return fastavro's own opinion of one datum: ``accepted``, or what it finds wrong, in one line.

    It is not asked where a few bytes can make it die or never answer, which its status tells, too.
    """
    if status == TOO_LARGE:
        return "not asked: it would make all of that"
    if not is_bounded(schema):
        return "not asked: the schema has a type inside itself, or items of no bytes"
    if len(datum) > MOST_ASKED_BYTES:
        return f"not asked: more than {MOST_ASKED_BYTES} bytes"
    stream = io.BytesIO(datum)
    try:
        fastavro.schemaless_reader(stream, schema.parsed, None)
    except Exception as error:  # noqa: BLE001 - hostile bytes make it raise anything, and that is the opinion
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    left = len(datum) - stream.tell()
    return f"{left} trailing bytes" if left else "accepted"
