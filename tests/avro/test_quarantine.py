"""Quarantine files: rejected messages come back whole, and any Avro reader opens them."""

from __future__ import annotations

from pathlib import Path

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finkbridge.avro.quarantine import read_quarantine, write_quarantine
from finkbridge.errors import DecodeError
from finkbridge.values import Message, Rejected
from tests.avro.test_archive import messages

rejections = st.builds(
    Rejected,
    message=st.builds(
        lambda m, v: m._replace(value=v), messages, st.one_of(st.none(), st.binary(max_size=50))
    ),
    reason=st.text(max_size=20),
    byte_position=st.one_of(st.none(), st.integers(0, 2**40)),
    reference=st.text(max_size=20),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rejected=st.lists(rejections, max_size=5))
def test_rejected_messages_come_back_whole(tmp_path: Path, rejected: list[Rejected]):
    path = tmp_path / "q.avro"
    written = write_quarantine(path, rejected, {"topic": "t"})
    first = path.read_bytes()
    assert read_quarantine(path) == rejected
    assert write_quarantine(path, rejected, {"topic": "t"}).checksum == written.checksum
    assert path.read_bytes() == first
    assert written.bytes == len(first)


REJECTED = Rejected(Message(1, 2, None, 0, None, b"\0bad", (("h", None),)), "bad varint", 3, "EOFError")


def test_any_reader_opens_it(tmp_path):
    write_quarantine(tmp_path / "q", [REJECTED], {"topic": "t"})
    with (tmp_path / "q").open("rb") as file:
        assert list(fastavro.reader(file)) == [{
            "partition": 1, "offset": 2, "timestamp_ms": None, "timestamp_type": 0, "key": None,
            "value": b"\0bad",
            "headers": [{"name": "h", "value": None}], "reason": "bad varint", "byte_position": 3,
            "reference": "EOFError",
        }]  # fmt: skip


def test_texts_made_of_hostile_bytes_are_printable(tmp_path):
    write_quarantine(tmp_path / "q", [Rejected(REJECTED.message, "bad \udc80", None, "\udfff")], {})
    (found,) = read_quarantine(tmp_path / "q")
    assert (found.reason, found.reference) == ("bad \\udc80", "\\udfff")


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "q.avro"
    write_quarantine(path, [REJECTED], {})
    whole = path.read_bytes()
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            path.write_bytes(data)
            with pytest.raises(DecodeError, match=r"q\.avro: the quarantine file is damaged"):
                read_quarantine(path)
