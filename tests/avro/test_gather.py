"""The machine that fills Arrow's buffers stays within its datums and buffers, whatever the bytes.

An access beyond them tells nothing by itself. So the machine is compiled once more, with numba's own check of
every index, in a process and a cache of its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from finkbridge.avro import columns
from finkbridge.avro.decode import Decoder
from finkbridge.errors import DecodeError
from tests.avro.samples import RandomAvro, encode, record_of, schema_of

INNER = {"type": "record", "name": "j", "fields": [
    {"name": "t", "type": "string"}, {"name": "u", "type": {"type": "map", "values": "int"}}]}  # fmt: skip
ITEM = {"type": "record", "name": "i", "fields": [
    {"name": "x", "type": ["double", "null"]}, {"name": "y", "type": {"type": "array", "items": "string"}},
    {"name": "z", "type": ["null", INNER]}]}  # fmt: skip
DOCUMENT = record_of(
    a="int", b=["null", "string"], c={"type": "array", "items": ITEM}, d={"type": "map", "values": "bytes"},
    e={"type": "enum", "name": "e", "symbols": ["A"]}, f={"type": "fixed", "name": "f", "size": 9},
    h="float", i="boolean", k="double", l={"type": "fixed", "name": "last", "size": 5},
    m={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3},
)  # fmt: skip


def walk(count: int, seed: int) -> tuple[int, int]:
    """Decode damaged datums between sound ones, each at the very end of its bytes; count what is refused."""
    columns.SLACK = 0  # so that there is no more room than need be
    schema, rng, maker = schema_of(DOCUMENT), random.Random(seed), RandomAvro(seed)
    decoder, refused = Decoder(schema), 0
    seeds = [encode(schema, maker.value(DOCUMENT)) for _ in range(20)]
    for number in range(count):
        datum = bytearray(rng.choice(seeds))
        if number % 4 == 0:
            del datum[rng.randrange(len(datum)) :]
        for _ in range(rng.choice((1, 3)) if datum else 0):
            datum[rng.randrange(len(datum))] = rng.choice((0, 1, 2, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            some = [rng.choice(seeds) for _ in range(rng.choice((0, 1, 7)))]
            assert decoder.decode([*some, bytes(datum)]).num_rows == len(some) + 1
        except DecodeError:
            refused += 1
    return refused, count


def test_bytes_that_were_not_checked_lead_nowhere() -> None:
    refused, count = walk(2000, 3)
    assert count / 4 < refused < count
    decoder = Decoder(schema_of(record_of(a="int", b="string")))
    for datum in (b"", b"\x80" * 20, b"\xff" * 400, bytes(400)):
        with pytest.raises(DecodeError, match="datum 1 of 2 is not what its schema says"):
            decoder.decode([b"\2\0", datum])


@pytest.mark.slow
def test_no_access_is_beyond_a_datum_or_a_buffer(tmp_path: Path) -> None:
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    script = "from tests.avro.test_gather import walk; print(*walk(6000, 5))"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env=os.environ | checked,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    refused, count = map(int, ended.stdout.split())
    assert count / 4 < refused < count
