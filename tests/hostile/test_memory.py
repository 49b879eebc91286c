"""Few bytes of plain Avro that are millions of values: drained by real processes, in bounded memory."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from finkbridge.avro.container import encode_long
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import Record, alive_files, data_files, points, sql
from tests.torture.processes import pss_bytes

BOUND_BYTES = 1 << 30
LONGEST_S = 300


def array_of(items: Any, count: int, item_bytes: int, pad: int = 0) -> Record:
    """Return a message whose array has so many items, of no more than zeros; padded, to be allowed more."""
    fields = [{"name": "pad", "type": "bytes"}, {"name": "a", "type": {"type": "array", "items": items}}]
    key = json.dumps({"type": "record", "name": "r", "fields": fields}).encode()
    padding = encode_long(pad) + bytes(pad)
    return key, padding + encode_long(count) + bytes(count * item_bytes) + b"\0"


def record(*types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "e",
        "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(types)],
    }


SPARSE = ["null", record(*["long"] * 100)]
NOTHING = {"type": "fixed", "name": "z", "size": 0}
FEW, MANY, PAD = 60_000, 1_800_000, 450_000
BOMBS = {
    "a hundred columns for each null": (array_of(SPARSE, 100_000, 1), 100),
    "empty records": (array_of(record(), MANY, 0, PAD), 30),
    "records of nulls": (array_of(record(*["null"] * 50), MANY, 0, PAD), 30),
    "fixed types of no bytes": (array_of(NOTHING, MANY, 0, PAD), 30),
}
"""With how many of each there are: all of them go to quarantine."""
LARGE = {
    "a hundred columns for each null": (array_of(SPARSE, FEW, 1), 25),
    "empty maps": (array_of({"type": "map", "values": "int"}, 900_000, 1), 25),
}
"""The most that is decoded, a message at a time."""


@pytest.mark.kafka
@pytest.mark.slow
def test_messages_that_unfold_take_bounded_memory(kafka: Kafka, tmp_path: Path) -> None:
    topic, good = kafka.topic("unfold"), points(1.0, 2.0)
    for bomb, count in (*BOMBS.values(), *LARGE.values()):
        for _ in range(0, count, 5):
            kafka.produce(topic, [*[bomb] * 5, *good])
    bad, rows = (sum(count for _, count in kind.values()) for kind in (BOMBS, LARGE))
    command = Command(tmp_path, kafka.bootstrap, FINKBRIDGE_WORKERS="2")
    peak = peak_of(command, topic)
    assert sql(command.lake, "SELECT reason, count(*) FROM quarantine GROUP BY ALL") == [
        ("more than 100663296 bytes once decoded", bad)
    ]
    counted = sql(command.lake, "SELECT count(*), count(x) FROM packets_other")
    assert counted == [(rows + 2 * (bad + rows) // 5, 2 * (bad + rows) // 5)]
    assert peak < BOUND_BYTES
    assert data_files(command.lake) == alive_files(command.lake)
    command.run("verify")


def peak_of(command: Command, topic: str) -> int:
    """Drain a topic; return the most memory that all processes took together."""
    peak, until = 0, time.monotonic() + LONGEST_S
    with command.start("drain", topic) as running:
        while running.process.poll() is None:
            assert time.monotonic() < until
            peak = max(peak, pss_bytes(running.process.pid))
            time.sleep(0.05)
        assert running.process.returncode == 0, running.err.read_text()
    return peak
