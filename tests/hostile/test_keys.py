"""Keys that are attacks, through a drain to its end: rows or quarantine, and what is beside them lands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import alive_files, data_files, points, sql
from tests.support.offline import assert_verified

LARGE = {"max.message.bytes": "10485760"}


def schema(*types: Any, **more: Any) -> bytes:
    fields = [{"name": f"f{i}", "type": t} for i, t in enumerate(types)]
    return json.dumps({"type": "record", "name": "r", "fields": fields, **more}).encode()


LANDS = {
    "10 MB of JSON": (schema("int", doc="x" * 10_000_000), b"\2"),
    "recursive": (schema(["null", "r"]), b"\2\2\2\0"),
    "recursive through arrays": (schema({"type": "array", "items": "r"}), b"\4\0\0\0"),
}
QUARANTINED = {
    "no JSON": (b"{no JSON", b"\2", "the schema is no JSON: Expecting property name"),
    "no text": (b"\xff\xfe{", b"\2", "no writer schema: neither in the key, nor in"),
    "10 MB of no JSON": (b"{" + b"x" * 10_000_000, b"\2", "16777216 bytes of writer schemas in one segment"),
    "10,000 deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"\2", "the schema is no"),
    "10,000 deep in a schema": (
        schema("int").replace(b'"int"', b"[" * 10_000 + b"]" * 10_000), b"\2", "the schema is"
    ),
    "100,000 fields": (
        schema(*["int"] * 100_000), b"\2" * 100_000, "100001 columns, more than one schema may have"
    ),
    "a record of nothing but itself": (schema("r"), b"\2", "nested too deep"),
    "deeper than a value may be": (schema(["null", "r"]), b"\2" * 5_000 + b"\0", "nested too deep"),
    "an array for a key": (b"[]", b"\2", "no writer schema: neither in the key, nor in"),
    "no schema": (b'{"type": "r"}', b"\2", "the schema has the unknown type 'r'"),
}  # fmt: skip


@pytest.mark.kafka
@pytest.mark.slow
def test_each_key_costs_its_message_at_most(kafka: Kafka, tmp_path: Path) -> None:
    topic, bad = kafka.topic("keys", config=LARGE), [(key, value) for key, value, _ in QUARANTINED.values()]
    (good,) = points(1.0)
    hostile = [*LANDS.values(), *bad]
    kafka.produce(topic, [good, *[message for one in hostile for message in (one, good)]])
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_WORKERS="2")
    report = command.json("drain", topic)
    assert report["problems"] == []
    told = sql(command.lake, "SELECT kafka_offset, reason FROM quarantine ORDER BY kafka_offset")
    first = 2 * len(LANDS) + 1
    assert [offset for offset, _ in told] == list(range(first, first + 2 * len(bad), 2))
    for (name, (_, _, due)), (_, reason) in zip(QUARANTINED.items(), told, strict=True):
        assert due in reason, name
        assert len(reason) < 1_000, name
    landed = {offset for (offset,) in sql(command.lake, "SELECT _kafka_offset FROM packets_other")}
    assert landed == set(range(2 * len(hostile) + 1)) - {offset for offset, _ in told}
    assert data_files(command.lake) == alive_files(command.lake)
    assert_verified(command.lake)
