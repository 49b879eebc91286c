from __future__ import annotations

import io
import math
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.simulator.encode import encoder, item_encoder, varint
from finkbridge.simulator.schemas.build import array, fields, mapping, record
from finkbridge.simulator.schemas.build import struct as struct_field

SCHEMA = record(
    "value",
    [
        *fields("a:long b:float c:double d:boolean e:float f:string g:bytes h:double"),
        struct_field("inner", fields("x:double y:int z:float")),
        array("list", fields("p:float q:string")),
        mapping("map", "float"),
    ],
)
LONG = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(width=32)
ITEM = st.fixed_dictionaries({"p": st.none() | FLOAT, "q": st.none() | st.text(max_size=80)})
VALUE = st.fixed_dictionaries(
    {
        "a": st.none() | LONG,
        "b": st.none() | FLOAT,
        "c": st.none() | st.floats(),
        "d": st.none() | st.booleans(),
        "e": st.none() | FLOAT,
        "f": st.none() | st.text(),
        "g": st.none() | st.binary(),
        "h": st.none() | st.floats(),
        "inner": st.fixed_dictionaries(
            {
                "x": st.none() | st.floats(),
                "y": st.none() | st.integers(-(2**31), 2**31 - 1),
                "z": st.none() | FLOAT,
            }
        ),
        "list": st.none() | st.lists(ITEM),
        "map": st.none() | st.dictionaries(st.text(), st.none() | FLOAT),
    }
)


def reference(value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), value)
    return out.getvalue()


@given(VALUE)
def test_same_bytes_as_fastavro(value: dict[str, Any]) -> None:
    encode_item = item_encoder(SCHEMA, "list")
    items = None if value["list"] is None else [encode_item(item) for item in value["list"]]
    assert encoder(SCHEMA)(value | {"list": items}) == reference(value)


@given(LONG)
def test_varint_is_a_long(number: int) -> None:
    assert fastavro.schemaless_reader(io.BytesIO(varint(number)), "long") == number


def test_absent_keys_are_null() -> None:
    value = dict.fromkeys(["a", "b", "c", "d", "e", "f", "g", "h", "list", "map"], None)
    inner = dict.fromkeys(["x", "y", "z"], None)
    assert encoder(SCHEMA)({"inner": {}}) == reference(value | {"inner": inner})


def test_nan_and_minus_zero_survive() -> None:
    assert encoder("double")(-0.0) == struct.pack("<d", -0.0)
    assert math.isnan(struct.unpack("<f", encoder(["float", "null"])(math.nan)[1:])[0])


def test_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match="fixed"):
        encoder({"type": "fixed", "size": 2, "name": "x"})
