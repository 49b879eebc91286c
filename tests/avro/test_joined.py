"""Datums are put together a few at a time, and what walks them gives the same however they are parted."""

from __future__ import annotations

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
