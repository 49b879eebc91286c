"""Keys that are attacks: what they cost is bounded, and their messages are rows or in quarantine."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

import pytest

from finkbridge.avro.parser import Budget
from finkbridge.avro.resolve import SchemaResolver
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.unfold import columns_of
from finkbridge.values import Message, TopicGeneration
from tests.avro.samples import schema_of


def message(key: bytes, value: bytes = b"\2", offset: int = 0) -> Message:
    return Message(0, offset, 0, 1, key, value)


def key_of(document: Any) -> bytes:
    return json.dumps(document).encode()


def distinct(number: int) -> bytes:
    return key_of({"type": "record", "name": "r", "fields": [{"name": f"f{number}", "type": "int"}]})


LIFE = TopicGeneration("ztf", "t", 1)


def many_fields(count: int) -> bytes:
    fields = [{"name": f"f{i}", "type": "int"} for i in range(count)]
    return key_of({"type": "record", "name": "r", "fields": fields})


def test_schemas_beyond_the_budget_are_refused_unparsed() -> None:
    messages = [message(distinct(i), offset=i) for i in range(2_000)]
    resolver = SchemaResolver(budget=Budget(64))
    grouped = resolver.group("t", [*messages, messages[3]])
    assert len(grouped.groups) == 64
    assert list(grouped.groups[3].indices) == [3, 2_000]
    assert [i for i, _ in grouped.rejected] == list(range(64, 2_000))
    assert "more than 64 writer schemas in one topic" in grouped.rejected[0][1]
    assert len(resolver.group("t", messages[1_990:]).groups) == 0, "the next part of the plan goes on"
    known = {group.schema.fingerprint: 1 for group in grouped.groups[:60]}
    resolver.begin(LIFE, known)
    again = resolver.group("t", messages[40:])
    assert [i for group in again.groups for i in group.indices] == list(range(24)), (
        "60 known ones, 4 new ones"
    )


def test_columns_beyond_the_budget_are_refused() -> None:
    messages = [message(key, b"\2" * 101) for key in map(many_fields, (24, 23, 22, 25, 21, 20, 101, 24))]
    resolver = SchemaResolver(budget=Budget(64, 100))
    grouped = resolver.group("t", messages)
    assert [list(group.indices) for group in grouped.groups] == [[0, 7], [1], [2], [4]]
    (large, too_large), (last, too_many), (huge, far_too_large) = grouped.rejected
    assert (large, last, huge) == (3, 5, 6)
    assert "26 columns, more than one schema may have" in too_large
    assert "102 columns, more than one schema may have" in far_too_large
    assert "more than 100 columns of writer schemas in one topic" in too_many
    resolver.begin(LIFE, {"another": 50})
    assert [list(group.indices) for group in resolver.group("t", messages).groups] == [[0, 7], [1]]


def test_types_that_are_used_often_make_as_many_columns() -> None:
    inner = {"type": "record", "name": "i", "fields": [{"name": "x", "type": ["null", "int", "string"]}]}
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": {"type": "map", "values": "i"}}]
    assert columns_of(schema_of({"type": "record", "name": "r", "fields": fields}).simple) == 1 + 3 + 4
    tree = [{"name": "x", "type": "int"}, {"name": "next", "type": {"type": "array", "items": "t"}}]
    assert columns_of(schema_of({"type": "record", "name": "t", "fields": tree}).simple) == 1 + 1 + 2
    doubling: list[dict[str, Any]] = [
        {"type": "record", "name": "t0", "fields": [{"name": "x", "type": "int"}]}
    ]
    for i in range(1, 60):
        twice = [{"name": "a", "type": doubling[-1]}, {"name": "b", "type": f"t{i - 1}"}]
        doubling.append({"type": "record", "name": f"t{i}", "fields": twice})
    assert columns_of(schema_of(doubling[-1]).simple) > 1_000_000_000


def test_a_million_schemas_take_seconds_and_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, resolver = time.monotonic(), SchemaResolver(budget=Budget(64))
    for first in range(0, 20_000, 1_000):
        resolver.group("t", [message(distinct(i)) for i in range(first, first + 1_000)])
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize(
    "key",
    [
        b"{" + b"x" * 10_000_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"type":"record","name":"r","fields":[' + b"[" * 10_000 + b"]" * 10_000 + b"]}",
        many_fields(100_000),
        key_of({"type": "record", "name": "r", "fields": [{"name": "x", "type": "r"}]}),
        b"\xff\xfe{", b"{}", b"{\0}", key_of({"type": "r"}), key_of({"type": {"type": {"type": "int"}}}),
    ],
)  # fmt: skip
def test_odd_keys_are_a_schema_or_a_reason(key: bytes) -> None:
    began = time.monotonic()
    found = SchemaResolver(budget=Budget(64)).resolve("t", message(key))
    assert time.monotonic() - began < 30
    assert isinstance(found, str) or isinstance(found.schema, WriterSchema)


def test_texts_that_are_kept_are_bounded_by_their_bytes() -> None:
    resolver = SchemaResolver()
    for i in range(12):
        resolver.resolve("t", message(b"{" + bytes([65 + i]) * 3_000_000))
    assert sum(map(len, resolver._parser._parsed)) <= 16 << 20
