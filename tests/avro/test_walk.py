"""The walk for people stops where the check stops, for the same reason, and names the field."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.avro import walk
from finkbridge.avro.check import REASONS, Checker
from finkbridge.avro.schemas import WriterSchema
from finkbridge.avro.walk import Fault, describe_type, find_fault
from tests.avro.samples import RandomAvro, encode, real_alerts, record_of, schema_of
from tests.avro.test_check import REFUSED

NESTED = record_of(
    name="string",
    points={"type": "array", "items": {**record_of(x="double", band=["null", "string"]), "name": "point"}},
    tags={"type": "map", "values": "int"},
    kind={"type": "enum", "name": "kind", "symbols": ["A", "B"]},
)
VALUE = {
    "name": "a",
    "points": [{"x": 1.0, "band": None}, {"x": 2.0, "band": "g"}],
    "tags": {"k": 1},
    "kind": "B",
}


def assert_agrees(schema: WriterSchema, datum: bytes) -> None:
    verdicts = Checker(schema).check([datum])
    fault = find_fault(schema, datum)
    status, position = int(verdicts.status[0]), int(verdicts.position[0])
    assert (fault.reason if fault else "ok") == REASONS[status]
    assert fault is None or fault.position == position


def mutated(chance: random.Random, datum: bytes) -> bytes:
    data = bytearray(datum)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 9)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case _:
                data[at : at + 1] = bytes([chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF))])
    return bytes(data)


@pytest.mark.parametrize(("kind", "datum", "reason", "position"), REFUSED)
def test_refuses_what_the_check_refuses(kind: Any, datum: bytes, reason: str, position: int) -> None:
    fault = find_fault(schema_of(kind), datum)
    assert fault is not None
    assert (fault.reason, fault.position) == (reason, position)


@given(seed=st.integers(0, 2**32))
def test_agrees_with_the_check_on_random_schemas(seed: int) -> None:
    maker, chance = RandomAvro(seed), random.Random(seed)
    definition = maker.record(4)
    schema = schema_of(definition)
    datum = encode(schema, maker.value(definition))
    if datum:
        assert find_fault(schema, datum) is None
    for _ in range(10):
        assert_agrees(schema, mutated(chance, datum))


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_agrees_with_the_check_on_real_alerts(shared_data: Path, survey: str) -> None:
    schema, datums = real_alerts(shared_data, survey)
    chance = random.Random(7)
    assert find_fault(schema, datums[0]) is None
    for datum in datums[:20]:
        assert_agrees(schema, mutated(chance, datum))


@pytest.mark.parametrize(
    ("find", "replace", "path", "expected", "reason"),
    [
        (b"\x02\x02g", b"\x02\x02\xff", "points[1].band", "string", "bad UTF-8"),
        (b"\x02\x02g", b"\x08\x02g", "points[1].band", "union of null, string", "union branch out of range"),
        (b"\x02\x02k\x02", b"\x02\x02k\xff\xff\xff\xff\xff\x01", "tags['k']", "int", "int out of 32 bits"),
        (b"\x02\x02k\x02", b"\x02\x01k\x02", "tags", "map key", "negative length"),
        (b"\x02a\x04", b"\x02a\x7e", "points", "array of point", "more items than the bytes can hold"),
    ],
)
def test_names_the_field(find: bytes, replace: bytes, path: str, expected: str, reason: str) -> None:
    schema = schema_of(NESTED)
    datum = encode(schema, VALUE)
    assert datum.count(find) == 1
    bad = datum.replace(find, replace)
    fault = find_fault(schema, bad)
    assert fault is not None
    assert (fault.path, fault.expected, fault.reason) == (path, expected, reason)
    assert_agrees(schema, bad)


def test_ends() -> None:
    schema = schema_of(NESTED)
    datum = encode(schema, VALUE)
    end = len(datum)
    assert find_fault(schema, datum) is None
    assert find_fault(schema, datum + b"!") == Fault(end, "", "the end of the message", "bytes left over")
    assert find_fault(schema, datum[:-1]) == Fault(end - 1, "kind", "enum kind", "end of data")
    assert find_fault(schema, b"") == Fault(0, "", "record r", "empty value")


def test_recursive_value_and_too_many_values_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {"type": "record", "name": "t", "fields": [{"name": "next", "type": ["null", "t"]}]}
    for depth in (50, 99, 100, 101, 5_000):
        assert_agrees(schema_of(tree), b"\x02" * depth + b"\0")
    fault = find_fault(schema_of(tree), b"\x02" * 200)
    assert fault is not None
    assert fault.path.startswith("next.next.next")
    monkeypatch.setattr(walk, "MAX_VALUES", 100)
    numbers = schema_of(record_of(x={"type": "array", "items": "int"}))
    fault = find_fault(numbers, encode(numbers, {"x": [0] * 200}))
    assert fault is not None
    assert fault.reason.startswith("too many values")


def test_types_in_words() -> None:
    named = {"type": "fixed", "name": "f", "size": 3}
    assert describe_type(["null", named]) == "union of null, f"
    assert describe_type(named) == "fixed of 3 bytes"
    assert describe_type({"type": "long", "logicalType": "timestamp-millis"}) == "long (timestamp-millis)"
