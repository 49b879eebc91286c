"""One datum for a person: what the strict check takes has a value, also where Python has none of its type."""

from __future__ import annotations

from typing import Any

import pytest

from finkbridge.avro.check import Checker
from finkbridge.avro.single import Prefix, decode_one
from finkbridge.errors import DecodeError
from finkbridge.lookup import Raw
from tests.avro.samples import encode, record_of, schema_of

OUT_OF_RANGE = [
    ("long", "timestamp-micros", 2**62),
    ("long", "timestamp-millis", 2**60),
    ("long", "local-timestamp-micros", -(2**62)),
    ("int", "date", 2**31 - 1),
    ("long", "time-micros", 2**62),
    ("int", "time-millis", 2**31 - 1),
    ("string", "uuid", "zz"),
]


@pytest.mark.parametrize(("base", "logical", "value"), OUT_OF_RANGE)
def test_a_value_that_python_has_not_is_given_as_avros(base: str, logical: str, value: Any) -> None:
    kind = {"type": base, "logicalType": logical}
    schema = schema_of(record_of(t=kind, more=["null", {"type": "array", "items": kind}], objectId="string"))
    sent = {"t": value, "more": [value], "objectId": "ZTF1"}
    datum = encode(
        schema_of(record_of(t=base, more=["null", {"type": "array", "items": base}], objectId="string")), sent
    )
    assert Checker(schema).check([datum]).status[0] == 0
    assert decode_one(schema, datum) == Raw(schema, datum).record() == sent
    assert Prefix(schema, ["objectId"]).read(datum)["objectId"] == "ZTF1"
    with pytest.raises(DecodeError):
        decode_one(schema, datum[:-1])
    with pytest.raises(DecodeError, match="1 trailing bytes"):
        decode_one(schema, datum + b"\0")


def test_a_value_that_python_has_is_one_of_its_type() -> None:
    schema = schema_of(record_of(t={"type": "int", "logicalType": "date"}))
    assert decode_one(schema, encode(schema, {"t": 0}))["t"].isoformat() == "1970-01-01"


def test_a_damaged_datum_is_an_error_also_for_what_was_checked() -> None:
    with pytest.raises(DecodeError):
        Raw(schema_of(record_of(t="string")), b"\x10ab").record()
