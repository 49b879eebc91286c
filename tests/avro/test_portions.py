"""Messages are parted such that what comes of them fits in memory, and none is lost or moved on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.avro.check import Checker
from finkbridge.avro.decode import Decoder
from finkbridge.avro.machine import MAX_UNFOLDED_BYTES
from finkbridge.avro.portions import unfolding
from finkbridge.avro.resolve import Framing, SchemaGroup
from finkbridge.values import Message
from tests.avro.samples import SURVEYS, RandomAvro, encode, real_alerts, record_of, schema_of


@given(st.lists(st.integers(0, MAX_UNFOLDED_BYTES), max_size=40))
def test_portions_tile_and_are_bounded(sizes: list[int]) -> None:
    messages = [Message(0, i, 0, 1, b"{}", bytes([i])) for i in range(len(sizes))]
    schema = schema_of(record_of(x="int"))
    datums = [bytes([i]) for i in range(len(sizes))]
    group = SchemaGroup(schema, Framing.BARE, np.arange(len(sizes)), datums)
    parts = list(unfolding(group, messages, sizes))
    assert [m for _, mine in parts for m in mine] == messages
    assert [d for some, _ in parts for d in some.datums] == datums
    for some, mine in parts:
        assert some.datums == [m.value for m in mine]
        assert sum(sizes[m.offset] for m in mine) <= MAX_UNFOLDED_BYTES or len(mine) == 1


@pytest.mark.parametrize("survey", SURVEYS)
def test_real_alerts_are_not_parted(shared_data: Path, survey: str) -> None:
    """A segment is 64 MB: what comes of its columns must be one portion, and is told well."""
    schema, datums = real_alerts(shared_data, survey)
    columns, size = int(Checker(schema).check(datums).unfolded.sum()), sum(map(len, datums))
    assert Decoder(schema).decode(datums).nbytes <= columns + size
    assert columns * 64_000_000 / size < MAX_UNFOLDED_BYTES


@pytest.mark.parametrize("seed", range(20))
def test_random_tables_are_not_larger_than_told(seed: int) -> None:
    avro = RandomAvro(seed)
    document = avro.record(4)
    schema = schema_of(document)
    datums = [encode(schema, avro.value(document)) for _ in range(50)]
    told = int(Checker(schema).check(datums).unfolded.sum()) + sum(map(len, datums))
    assert Decoder(schema).decode(datums).nbytes <= told + 4096
