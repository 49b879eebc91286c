"""The writer schema of each message, from whichever place it is in."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import re
import zlib

import fastavro
import pyarrow as pa
import pytest

from finkbridge.avro import codecs, resolve
from finkbridge.avro.container import encode_header, encode_long
from finkbridge.avro.parser import CACHED_SCHEMAS
from finkbridge.avro.portions import portions
from finkbridge.avro.resolve import Framing, Resolved, SchemaResolver
from finkbridge.avro.schemas import parse_schema
from finkbridge.values import Message
from tests.avro.samples import encode, messages_of, record_of, schema_of

SCHEMA = schema_of(record_of(a="int", b="string"))
OTHER = schema_of(record_of(c="double"))
DATUM = encode(SCHEMA, {"a": 7, "b": "seven"})
SYNC = b"0123456789abcdef"


def message(value: bytes | None = DATUM, key: bytes | None = None) -> Message:
    return Message(3, 5, 1, 1, key, value)


def wrap(block: bytes, codec: str = "null", count: int = 1, text: bytes = SCHEMA.text) -> bytes:
    header = encode_header({"avro.schema": text, "avro.codec": codec.encode()}, SYNC)
    return header + encode_long(count) + encode_long(len(block)) + block + SYNC


def test_the_key_is_the_schema():
    found = SchemaResolver().resolve("t", message(key=SCHEMA.text))
    assert found == Resolved(SCHEMA, DATUM, Framing.BARE)


def test_equal_keys_are_parsed_once(monkeypatch):
    parsed = []
    monkeypatch.setattr(
        "finkbridge.avro.parser.parse_schema", lambda text: parsed.append(text) or parse_schema(text)
    )
    resolver = SchemaResolver()
    for _ in range(3):
        resolver.group("t", messages_of([DATUM] * 3, bytes(bytearray(SCHEMA.text))))
    assert parsed == [SCHEMA.text]


def test_no_more_schemas_are_kept_than_said():
    resolver = SchemaResolver()
    for i in range(3 * CACHED_SCHEMAS):
        resolver.resolve("t", message(key=json.dumps(record_of(**{f"f{i}": "int"})).encode()))
    assert len(resolver._parser._parsed) == CACHED_SCHEMAS


def test_the_override_beats_key_and_container():
    resolver = SchemaResolver(override=OTHER)
    assert resolver.resolve("t", message(key=SCHEMA.text)) == Resolved(OTHER, DATUM, Framing.BARE)
    assert resolver.resolve("t", message(wrap(DATUM))) == Resolved(OTHER, DATUM, Framing.CONTAINER)


def test_the_schema_topic_is_asked_once_per_topic():
    asked = []

    def topic_schema(topic: str) -> bytes | None:
        asked.append(topic)
        return SCHEMA.text if topic == "has" else None

    resolver = SchemaResolver(topic_schema=topic_schema)
    for _ in range(3):
        assert resolver.resolve("has", message(key=b"1.0_2.0")) == Resolved(SCHEMA, DATUM, Framing.BARE)
        assert str(resolver.resolve("has-not", message())).startswith("no writer schema")
    assert asked == ["has", "has-not"]


@pytest.mark.parametrize(("value", "key", "reason"), [
    (None, SCHEMA.text, "null value"),
    (b"", SCHEMA.text, "empty value"),
    (DATUM, None, "no writer schema: neither in the key"),
    (DATUM, b"1.0_2.0", "no writer schema"),
    (DATUM, b'{"id": 5}', "no writer schema.*; the key: the schema has no Avro type"),
])  # fmt: skip
def test_a_message_without_a_schema_has_a_reason(value, key, reason):
    found = SchemaResolver().resolve("t", message(value, key))
    assert isinstance(found, str)
    assert re.search(reason, found)


def test_a_damaged_schema_topic_is_a_reason():
    found = SchemaResolver(topic_schema=lambda _: b"{").resolve("t", message())
    assert str(found).startswith("the schema of t_schema: the schema is no JSON")


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_a_value_that_is_a_container_file_as_fastavro_writes_it(codec):
    stream = io.BytesIO()
    fastavro.writer(stream, SCHEMA.parsed, [{"a": 7, "b": "seven"}], codec=codec)
    found = SchemaResolver().resolve("t", message(stream.getvalue(), key=OTHER.text))
    assert isinstance(found, Resolved)
    assert (found.datum, found.framing) == (DATUM, Framing.CONTAINER)
    assert found.schema.simple == SCHEMA.simple


def snappy(block: bytes) -> bytes:
    return pa.compress(block, codec="snappy", asbytes=True) + zlib.crc32(block).to_bytes(4, "big")


def lz4(block: bytes) -> bytes:
    return len(block).to_bytes(4, "little") + pa.compress(block, codec="lz4_raw", asbytes=True)


def zstandard(block: bytes) -> bytes:
    return pa.compress(block, codec="zstd", asbytes=True)


def deflate(block: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(block) + squeezer.flush()


PACK = {
    "deflate": deflate, "bzip2": bz2.compress, "xz": lzma.compress,
    "zstandard": zstandard, "snappy": snappy, "lz4": lz4,
}  # fmt: skip


@pytest.mark.parametrize("codec", PACK)
def test_every_codec_gives_the_datum(codec):
    found = SchemaResolver().resolve("t", message(wrap(PACK[codec](DATUM), codec)))
    assert found == Resolved(SCHEMA, DATUM, Framing.CONTAINER)


@pytest.mark.parametrize("codec", PACK)
def test_a_bomb_is_refused_before_it_unfolds(codec):
    bomb = PACK[codec](bytes(100_000))
    with pytest.raises(ValueError, match="more than 99999 bytes once decompressed"):
        codecs.decompress(codec, bomb, 99_999)
    assert codecs.decompress(codec, bomb, 100_000) == bytes(100_000)


def test_a_bomb_in_a_message_is_a_reason():
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(200)) + squeezer.flush()
    found = SchemaResolver().resolve("t", message(wrap(bomb, "deflate")))
    assert found == "the container file in the value: more than 67108864 bytes once decompressed"


@pytest.mark.parametrize("codec", PACK)
def test_damaged_blocks_are_a_reason(codec):
    packed = PACK[codec](DATUM * 10)
    for damaged in (packed[:-6], b"", b"\xff" * 9, packed[: len(packed) // 2]):
        found = SchemaResolver().resolve("t", message(wrap(damaged, codec)))
        assert isinstance(found, str), damaged
        assert "\n" not in found


@pytest.mark.parametrize(("value", "reason"), [
    (wrap(DATUM, "odd"), "unknown codec 'odd'"),
    (wrap(DATUM, count=2), "a block of 2 records where one is due"),
    (wrap(DATUM) + wrap(DATUM)[-40:], "bytes left after the first block"),
    (wrap(DATUM)[:-1], "cut off"),
    (wrap(DATUM)[:-1] + b"?", "wrong sync marker"),
    (wrap(DATUM, text=b"{}"), "the schema has no Avro type"),
    (encode_header({"avro.schema": SCHEMA.text}, SYNC), "cut off"),
])  # fmt: skip
def test_a_damaged_container_is_a_reason(value, reason):
    found = SchemaResolver().resolve("t", message(value, key=SCHEMA.text))
    assert isinstance(found, str)
    assert found.startswith("the container file in the value: ")
    assert reason in found


def test_a_schema_topic_that_comes_later_is_found():
    texts = [None, None, SCHEMA.text]
    resolver = SchemaResolver(topic_schema=lambda _: texts.pop(0))
    for rejected in (2, 2, 0, 0):
        assert len(resolver.group("t", [message(), message()]).rejected) == rejected
    assert texts == []


def test_a_bare_datum_may_start_like_a_container():
    schema = schema_of(record_of(a="long", b="long", c="long", d="boolean"))
    datum = b"Obj\x01"
    found = SchemaResolver().resolve("t", message(datum, key=schema.text))
    assert found == Resolved(schema, datum, Framing.BARE)


def test_groups_are_in_the_order_of_first_appearance():
    other = encode(OTHER, {"c": 1.0})
    batch = [
        message(None, SCHEMA.text),
        message(other, OTHER.text),
        message(DATUM, SCHEMA.text),
        message(wrap(DATUM)),
        message(other, OTHER.text),
        message(b"", OTHER.text),
        message(DATUM, b"odd"),
        message(DATUM, SCHEMA.text),
    ]
    grouped = SchemaResolver().group("t", batch)
    assert [(g.schema, g.framing, g.indices.tolist(), g.datums) for g in grouped.groups] == [
        (OTHER, Framing.BARE, [1, 4], [other, other]),
        (SCHEMA, Framing.BARE, [2, 7], [DATUM, DATUM]),
        (SCHEMA, Framing.CONTAINER, [3], []),
    ]
    assert [index for index, _ in grouped.rejected] == [0, 5, 6]


def test_grouping_equals_resolving_one_by_one():
    batch = [message(v, k) for v in (DATUM, wrap(DATUM), None) for k in (None, SCHEMA.text, OTHER.text)] * 3
    resolver = SchemaResolver()
    expected = [resolver.resolve("t", m) for m in batch]
    grouped = resolver.group("t", batch)
    got = dict(grouped.rejected)
    for group in grouped.groups:
        (portion,) = portions(group, [batch[i] for i in group.indices])
        for index, datum in zip(group.indices, portion.group.datums, strict=True):
            got[int(index)] = Resolved(group.schema, datum, group.framing)
    assert [got[i] for i in range(len(batch))] == expected


def test_a_key_that_is_the_schema_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    find = SchemaResolver._find
    monkeypatch.setattr(
        SchemaResolver, "_find", lambda self, topic, m: looked.append(m.offset) or find(self, topic, m)
    )
    grouped = SchemaResolver().group("t", messages_of([DATUM] * 100, SCHEMA.text))
    assert len(looked) == 1
    assert [len(group.datums) for group in grouped.groups] == [100]


def test_what_a_topic_lacked_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "ASK_AGAIN_S", 0.0)
    texts: list[bytes | None] = [None, SCHEMA.text]
    resolver = SchemaResolver(topic_schema=lambda _: texts.pop(0))
    assert isinstance(resolver.resolve("t", message()), str)
    assert resolver.resolve("t", message()) == Resolved(SCHEMA, DATUM, Framing.BARE)
    assert resolver.resolve("t", message()) == Resolved(SCHEMA, DATUM, Framing.BARE), "and kept"


def test_what_is_forgotten_of_a_topic_is_looked_for_again() -> None:
    texts: list[bytes | None] = [OTHER.text, SCHEMA.text]
    resolver = SchemaResolver(topic_schema=lambda _: texts.pop(0))
    assert resolver.resolve("t", message()) == Resolved(OTHER, DATUM, Framing.BARE)
    resolver.forget("t")
    assert resolver.resolve("t", message()) == Resolved(SCHEMA, DATUM, Framing.BARE)
