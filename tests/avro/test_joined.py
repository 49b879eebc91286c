"""Datums are put together a few at a time, and what walks them gives the same however they are parted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.avro import columns, joined
from finkbridge.avro.check import Checker
from finkbridge.avro.decode import Decoder
from finkbridge.errors import DecodeError
from tests.avro.samples import RandomAvro, encode, record_of, same, schema_of
from tests.avro.test_gather import DOCUMENT


@given(st.lists(st.binary(max_size=40)), st.integers(1, 60))
def test_each_datum_comes_once_and_in_order(datums: list[bytes], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined, "JOINED_BYTES", limit)
        portions = list(joined.joined(datums))
    found = [bytes(p.data[start:end]) for p in portions for start, end in zip(p.starts, p.ends, strict=True)]
    assert found == datums
    firsts = [p.first for p in portions]
    assert firsts == [sum(len(p.ends) for p in portions[:i]) for i in range(len(portions))]
    assert all(int(p.ends[-1]) <= limit or sum(p.ends > p.starts) == 1 for p in portions)


@given(st.lists(st.binary(max_size=40)), st.slices(20), st.binary(max_size=9))
def test_spans_are_a_list_of_what_lies_there(datums: list[bytes], some: slice, between: bytes) -> None:
    spans = in_place(datums, between)
    assert list(spans) == datums
    assert len(spans) == len(datums)
    assert list(spans[some]) == datums[some]
    assert joined.total_bytes(spans[some]) == joined.total_bytes(datums[some])


def in_place(datums: list[bytes], between: bytes = b"??") -> joined.Spans:
    """Return datums in one memory, with something between them."""
    ends = np.cumsum([len(datum) + len(between) for datum in datums], dtype=np.int64)
    starts = ends - [len(datum) for datum in datums]
    memory = b"".join(between + datum for datum in datums) + between
    return joined.Spans(np.frombuffer(memory, np.uint8), starts, ends)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 11), (5, 4)])
def test_spans_outside_of_their_memory_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not within its memory"):
        joined.Spans(np.zeros(10, np.uint8), np.array([0, start]), np.array([10, end]))


def test_datums_in_place_give_the_same_verdicts_and_the_same_table() -> None:
    schema, maker = schema_of(DOCUMENT), RandomAvro(7)
    datums = [encode(schema, maker.value(DOCUMENT)) for _ in range(60)]
    assert same(Decoder(schema).decode(in_place(datums)), Decoder(schema).decode(datums))
    assert same(Decoder(schema).decode(in_place(datums)[::-3]), Decoder(schema).decode(datums[::-3]))
    datums[3], datums[7] = datums[3][:-1], datums[7] + b"?"
    for one, other in zip(
        Checker(schema).check(in_place(datums)), Checker(schema).check(datums), strict=True
    ):
        assert np.array_equal(one, other)
    with pytest.raises(DecodeError, match="datum 3 of 60 is not what its schema says"):
        Decoder(schema).decode(in_place(datums))


@pytest.mark.parametrize("limit", [1, 100, 5000])
@pytest.mark.parametrize("slack", [0, 4096], ids=["counted", "guessed"])
def test_rows_go_on_behind_those_of_the_portion_before(
    monkeypatch: pytest.MonkeyPatch, limit: int, slack: int
) -> None:
    monkeypatch.setattr(joined, "JOINED_BYTES", limit)
    monkeypatch.setattr(columns, "SLACK", slack)
    schema, maker = schema_of(DOCUMENT), RandomAvro(limit)
    datums = [encode(schema, maker.value(DOCUMENT)) for _ in range(60)]
    assert len(list(joined.joined(datums))) > 1
    assert not Checker(schema).check(datums).status.any()
    assert same(Decoder(schema).decode(datums), Decoder(schema, "fastavro").decode(datums))


@pytest.mark.parametrize("limit", [1, 8, 1000])
def test_nothing_is_carried_over_behind_a_datum_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(joined, "JOINED_BYTES", limit)
    with pytest.raises(DecodeError, match="datum 2 of 6 is not what its schema says"):
        Decoder(schema_of(record_of(a="int"))).decode([b"\2", b"\4", b"\2\2", b"\6", b"\2", b"\2"])
