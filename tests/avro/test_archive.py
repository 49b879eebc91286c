"""Archive files: each message comes back as it was, any reader opens them, no damage goes unnoticed."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import datafusion
import fastavro
import pyarrow as pa
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finkbridge.avro.archive import (
    Archive,
    Outline,
    read_archive,
    read_outline,
    read_places,
    value_of,
    write_archive,
)
from finkbridge.avro.decode import Decoder
from finkbridge.avro.resolve import Framing
from finkbridge.errors import DecodeError
from finkbridge.values import Message
from tests.avro.samples import SURVEYS, encode, messages_of, real_alerts, record_of, same, schema_of

SCHEMA = schema_of(record_of(a="int", b="string"))
FACTS = {"cluster": "ztf", "topic": "t", "ranges": [[0, 5, 9]], "plan": 7}

keys = st.one_of(st.none(), st.just(SCHEMA.text), st.binary(max_size=8), st.sampled_from([b"1.0_2.0", b""]))
headers = st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=5))), max_size=3)
messages = st.builds(
    Message,
    partition=st.integers(0, 3),
    offset=st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 1)),
    timestamp_ms=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(1000, 1010)),
    timestamp_type=st.integers(0, 2),
    key=keys,
    value=st.binary(min_size=1, max_size=200),
    headers=headers.map(tuple),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(messages, max_size=12), framing=st.sampled_from(Framing))
def test_each_message_comes_back_exactly(tmp_path: Path, batch: list[Message], framing: Framing):
    path = tmp_path / "x.avro"
    written = write_archive(path, SCHEMA, framing, batch, FACTS)
    whole = read_archive(path)
    assert whole == Archive(SCHEMA, framing, FACTS, tuple(batch))
    empty = tuple(message._replace(value=b"") for message in batch)
    places = read_places(path)
    assert (places, places.spans) == (Archive(SCHEMA, framing, FACTS, empty), whole.spans)
    assert read_outline(path) == Outline(SCHEMA.text, FACTS, empty)
    assert [value_of(path, number) for number in range(len(batch))] == [message.value for message in batch]
    data = path.read_bytes()
    assert written.bytes == len(data)
    assert written.checksum == xxhash.xxh3_128(data).hexdigest()
    spans = zip(written.positions, written.lengths, strict=True)
    assert [data[at : at + size] for at, size in spans] == [message.value for message in batch]


def test_a_retry_writes_the_same_bytes_and_other_content_other_ones(tmp_path):
    batch = messages_of([encode(SCHEMA, {"a": i, "b": "x"}) for i in range(5)], SCHEMA.text)

    def written(batch: list[Message], facts: dict[str, object]) -> bytes:
        write_archive(tmp_path / "x", SCHEMA, Framing.BARE, batch, facts)
        return (tmp_path / "x").read_bytes()

    first = written(batch, FACTS)
    assert written(batch, FACTS) == first
    others = [written(batch[1:], FACTS), written(batch, FACTS | {"plan": 8})]
    assert len({data[-16:] for data in [first, *others]}) == 3


def test_a_value_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="0:10 has no value"):
        write_archive(tmp_path / "x", SCHEMA, Framing.BARE, messages_of([b""]), FACTS)
    assert not (tmp_path / "x").exists()


def test_the_usual_header_is_small(tmp_path):
    datum = encode(SCHEMA, {"a": 1, "b": "x"})
    batch = messages_of([datum] * 1000, bytes(SCHEMA.text))
    written = write_archive(tmp_path / "x", SCHEMA, Framing.BARE, batch, FACTS)
    assert written.positions[0] < 3_000  # two bytes a message, for its timestamp


def test_the_header_is_plain_to_read(tmp_path):
    batch = messages_of([encode(SCHEMA, {"a": 1, "b": "x"})], SCHEMA.text)
    write_archive(tmp_path / "x", SCHEMA, Framing.BARE, batch, FACTS)
    with (tmp_path / "x").open("rb") as file:
        metadata = fastavro.reader(file).metadata
    assert metadata["finkbridge.schema"].encode() == SCHEMA.text
    assert json.loads(metadata["finkbridge.facts"]) == FACTS
    assert json.loads(metadata["finkbridge.messages"]) == {
        "version": 1, "count": 1, "partition": [[0, 1]], "offset": [[10, 1]],
        "timestamp_ms": [1_700_000_000_000], "timestamp_type": [[1, 1]],
        "keys": [{"same_as": "finkbridge.schema"}], "key": [[0, 1]], "headers": [],
    }  # fmt: skip


@pytest.mark.parametrize("survey", SURVEYS)
def test_real_alerts_open_in_fastavro_and_datafusion(shared_data, tmp_path, survey):
    schema, datums = real_alerts(shared_data, survey)
    path = tmp_path / "x.avro"
    write_archive(path, schema, Framing.BARE, messages_of(datums, schema.text), FACTS)
    assert [m.value for m in read_archive(path).messages] == datums
    expected = Decoder(schema).decode(datums)
    names = [f'"{name}"' for name in expected.schema.names]
    batches = datafusion.SessionContext().read_avro(str(path)).select(*names).collect()
    assert same(pa.Table.from_batches(batches).cast(expected.schema), expected)
    with path.open("rb") as file:
        for record, datum in zip(fastavro.reader(file), datums, strict=True):
            assert repr(record) == repr(fastavro.schemaless_reader(io.BytesIO(datum), schema.parsed, None))


def test_container_values_open_as_bytes(tmp_path):
    write_archive(tmp_path / "x", SCHEMA, Framing.CONTAINER, messages_of([b"Obj\1abc", b"Obj\1d"]), FACTS)
    with (tmp_path / "x").open("rb") as file:
        assert list(fastavro.reader(file)) == [b"Obj\1abc", b"Obj\1d"]


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    path = tmp_path / "x.avro"
    batch = [m._replace(headers=(("h", b"1"),)) for m in messages_of([b"\2\2a", b"\4\2b"], b"key")]
    for framing in Framing:
        write_archive(path, SCHEMA, framing, batch, {})
        whole = path.read_bytes()
        rng = random.Random(3)
        damaged = [whole[:cut] for cut in range(len(whole))]
        damaged += [
            whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            for at in range(len(whole))
        ]
        for data in [*damaged, whole + b"\2", whole + whole[-21:]]:
            path.write_bytes(data)
            with pytest.raises(DecodeError, match=r"x\.avro: the archive file is damaged"):
                read_archive(path)


def test_damage_is_told_with_its_byte(tmp_path):
    path = tmp_path / "x.avro"
    written = write_archive(path, SCHEMA, Framing.BARE, messages_of([b"\2\2a", b"\4\2b"]), {})
    data = bytearray(path.read_bytes())
    data[written.positions[0] + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=f"wrong sync marker at byte {written.positions[0] + 3}"):
        read_archive(path)


def test_a_file_of_another_kind_is_told(tmp_path):
    path = tmp_path / "x.avro"
    with path.open("wb") as file:
        fastavro.writer(file, SCHEMA.parsed, [{"a": 1, "b": "x"}])
    with pytest.raises(DecodeError, match="the header is not as it was written"):
        read_archive(path)
