"""Both engines give the types of the writer schema, and equal tables."""

from __future__ import annotations

import gc
import io
import json
import math
import struct
import tracemalloc
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finkbridge.avro import columns
from finkbridge.avro.check import Checker
from finkbridge.avro.container import encode_long
from finkbridge.avro.decode import Decoder
from finkbridge.avro.walk import find_fault
from finkbridge.errors import DecodeError, SchemaError
from tests.avro.samples import (
    SURVEYS,
    RandomAvro,
    encode,
    real_alerts,
    record_of,
    same,
    schema_of,
)

UNION = ["null", "int", "string", {"type": "record", "name": "u", "fields": [{"name": "x", "type": "bytes"}]}]
DURATION = {"type": "fixed", "name": "d", "size": 12, "logicalType": "duration"}
TREE = {"type": "record", "name": "n", "fields": [
    {"name": "v", "type": ["double", "null"]}, {"name": "b", "type": "bytes"},
    {"name": "children", "type": {"type": "array", "items": "n"}}]}  # fmt: skip


def both(document: Any, values: list[Any]) -> Any:
    """Decode values with both engines and return the one table."""
    schema = schema_of(document)
    datums = [encode(schema, value) for value in values]
    bulk = Decoder(schema).decode(datums)
    reference = Decoder(schema, "fastavro").decode(datums)
    assert bulk.schema.equals(Decoder(schema).arrow_schema)
    assert same(bulk, reference)
    return bulk


@pytest.mark.parametrize("survey", SURVEYS)
def test_both_engines_agree_on_every_field_of_the_real_alerts(shared_data, survey):
    schema, datums = real_alerts(shared_data, survey)
    bulk, reference = Decoder(schema), Decoder(schema, "fastavro")
    assert (bulk.bulk, reference.bulk, bulk.refusal) == (True, False, None)
    assert same(bulk.decode(datums), reference.decode(datums))


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_reference_gives_what_fastavro_gives(shared_data, survey):
    schema, datums = real_alerts(shared_data, survey)
    records = [fastavro.schemaless_reader(io.BytesIO(datum), schema.parsed, None) for datum in datums]
    for row, record in zip(Decoder(schema).decode(datums).to_pylist(), records, strict=True):
        assert repr(plain(row)) == repr(narrow(record))


def plain(value: Any) -> Any:
    """Return a row of a table with maps as dicts."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        is_map = bool(value) and all(isinstance(item, tuple) for item in value)
        return {key: plain(inner) for key, inner in value} if is_map else [plain(item) for item in value]
    return value


def narrow(value: Any) -> Any:
    """Return a record as a table shows it: an empty map is an empty list there."""
    if isinstance(value, dict):
        return {key: narrow(inner) for key, inner in value.items()} or []
    return [narrow(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(60))
def test_both_engines_agree_on_random_schemas(seed):
    maker = RandomAvro(seed)
    document = maker.record(4)
    document["fields"].append({"name": "a", "type": "int"})
    assert Decoder(schema_of(document)).bulk
    table = both(document, [maker.value(document) for _ in range(30)])
    assert table.num_rows == 30


def test_the_types_are_those_of_the_schema():
    def logical(base: str, name: str, **more: int) -> dict[str, Any]:
        return {"type": base, "logicalType": name, **more}

    document = record_of(
        i="int", l=["null", "long"], f="float", d="double", o="boolean", y="bytes", s="string",
        a={"type": "array", "items": ["null", "int"]}, m={"type": "map", "values": "float"},
        e={"type": "enum", "name": "e", "symbols": ["A", "B"]}, x={"type": "fixed", "name": "x", "size": 3},
        r={"type": "record", "name": "in", "fields": [{"name": "q", "type": "int"}]},
        ts=logical("long", "timestamp-millis"),
        tu=logical("long", "timestamp-micros"), tn=logical("long", "timestamp-nanos"),
        lo=logical("long", "local-timestamp-micros"),
        da=logical("int", "date"), tm=logical("int", "time-millis"),
        tt=logical("long", "time-micros"), de=logical("bytes", "decimal", precision=9, scale=2),
        dd=logical("bytes", "decimal", precision=50), uu=logical("string", "uuid"),
    )  # fmt: skip
    expected = pa.schema([
        ("i", pa.int32()), ("l", pa.int64()), ("f", pa.float32()), ("d", pa.float64()), ("o", pa.bool_()),
        ("y", pa.binary()), ("s", pa.string()), ("a", pa.list_(pa.int32())),
        ("m", pa.map_(pa.string(), pa.float32())),
        ("e", pa.dictionary(pa.int32(), pa.string())), ("x", pa.binary(3)),
        ("r", pa.struct([("q", pa.int32())])),
        ("ts", pa.timestamp("ms", "UTC")), ("tu", pa.timestamp("us", "UTC")),
        ("tn", pa.timestamp("ns", "UTC")),
        ("lo", pa.timestamp("us")), ("da", pa.date32()), ("tm", pa.time32("ms")), ("tt", pa.time64("us")),
        ("de", pa.decimal128(9, 2)), ("dd", pa.decimal256(50, 0)), ("uu", pa.string()),
    ])  # fmt: skip
    for engine in ("auto", "fastavro"):
        decoder = Decoder(schema_of(document), engine)
        assert decoder.arrow_schema.equals(expected)
        assert decoder.decode([]).schema.equals(expected)
        assert decoder.bulk == (engine == "auto")


def test_floats_are_bit_for_bit():
    values = [math.nan, 0.0, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]
    table = both(record_of(d="double"), [{"d": value} for value in values])
    assert table["d"].to_numpy().tobytes() == np.array(values).tobytes()


def test_times_beyond_the_years_of_python_decode():
    document = record_of(
        t={"type": "long", "logicalType": "timestamp-micros"}, d={"type": "int", "logicalType": "date"}
    )
    schema = schema_of(document)
    datum = encode_long(2**63 - 1) + encode_long(-(2**31))
    for engine in ("auto", "fastavro"):
        table = Decoder(schema, engine).decode([datum])
        assert table["t"].cast(pa.int64()).to_pylist() == [2**63 - 1]
        assert table["d"].cast(pa.int32()).to_pylist() == [-(2**31)]


def test_maps_keep_their_order():
    table = both(record_of(m={"type": "map", "values": "int"}), [{"m": {"b": 1, "a": 2}}, {"m": {}}])
    assert table["m"].to_pylist() == [[("b", 1), ("a", 2)], []]


def test_a_general_union_is_a_struct_of_its_branches():
    values = [5, "text", None, {"x": b"\0"}, 0, ""]
    table = both(record_of(u=UNION, i="int"), [{"u": value, "i": 1} for value in values])
    empty = {"int": None, "string": None, "u": None}
    assert table["u"].to_pylist() == [
        empty | {"int": 5}, empty | {"string": "text"}, None, empty | {"u": {"x": b"\0"}},
        empty | {"int": 0}, empty | {"string": ""},
    ]  # fmt: skip


def test_branches_of_one_python_type_are_told_apart():
    schema = schema_of(record_of(u=["int", "long", "float", "double"]))
    datums = [b"\0\2", b"\2\2", b"\4" + struct.pack("<f", 1.0), b"\6" + struct.pack("<d", 1.0)]
    rows = Decoder(schema).decode(datums)["u"].to_pylist()
    assert [[name for name, value in row.items() if value is not None] for row in rows] == [
        ["int"], ["long"], ["float"], ["double"],
    ]  # fmt: skip


def test_a_recursive_type_is_json_inside_itself():
    leaf = {"v": math.nan, "b": b"\0\xff", "children": []}
    table = both(TREE, [{"v": 1.5, "b": b"", "children": [leaf, leaf | {"v": None}]}])
    assert table.schema.field("children").type == pa.list_(pa.string())
    texts = table["children"].to_pylist()[0]
    assert json.loads(texts[0]) == {"v": "NaN", "b": "\x00\xff", "children": []}
    assert json.loads(texts[1])["v"] is None


def test_a_recursive_type_used_twice_decodes():
    document = {"type": "record", "name": "top", "fields": [
        {"name": "one", "type": TREE}, {"name": "two", "type": ["null", "n"]},
        {"name": "d", "type": {"type": "map", "values": "n"}}]}  # fmt: skip
    node = {"v": 1.0, "b": b"x", "children": [{"v": 2.0, "b": b"y", "children": []}]}
    table = both(document, [{"one": node, "two": None, "d": {"k": node}}])
    row = table.to_pylist()[0]
    assert json.loads(row["one"]["children"][0]) == {"v": 2.0, "b": "y", "children": []}
    assert row["two"] is None
    assert json.loads(row["d"][0][1]["children"][0])["v"] == 2.0


def test_a_duration_is_three_counts_and_an_empty_record_is_true():
    document = record_of(
        d=["null", DURATION],
        e=["null", {"type": "record", "name": "e", "fields": []}], n="null",
        z={"type": "fixed", "name": "z", "size": 0},
    )  # fmt: skip
    schema = schema_of(document)
    table = Decoder(schema).decode([b"\2" + struct.pack("<III", 1, 2, 2**32 - 1) + b"\2", b"\0\0"])
    assert table.to_pylist() == [
        {"d": {"months": 1, "days": 2, "milliseconds": 2**32 - 1}, "e": True, "n": None, "z": b""},
        {"d": None, "e": None, "n": None, "z": b""},
    ]


@pytest.mark.parametrize(("document", "value", "expected"), [
    ("string", "x", "x"),
    ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
    (["null", "long"], 5, 5),
])  # fmt: skip
def test_a_top_level_that_is_no_record_is_one_column(document, value, expected):
    assert both(document, [value]).to_pylist() == [{"value": expected}]


def nested(depth: int) -> Any:
    kind: Any = "int"
    for level in range(depth):
        kind = {"type": "record", "name": f"r{level}", "fields": [{"name": "x", "type": kind}]}
    return kind


@pytest.mark.parametrize(("document", "refusal"), [
    (record_of(a="int"), None),
    (nested(20), None),
    (nested(21), "more than 20 types inside each other"),
    (record_of(a=UNION), "a union of other than null and one type"),
    (record_of(a=["int"]), "a union of other than null and one type"),
    (record_of(a=["int", "string"]), "a union of other than null and one type"),
    (TREE, "a recursive type"),
    (record_of(a="int", b={"type": "record", "name": "e", "fields": []}), "an empty record"),
    (record_of(a={"type": "array", "items": "null"}), "a null outside of a union"),
    (record_of(**{'quote"': "int"}), None),
    ("int", "the top level is no record"),
])  # fmt: skip
def test_what_goes_to_fastavro_is_known_from_the_schema(document, refusal):
    decoder = Decoder(schema_of(document))
    assert (decoder.refusal, decoder.bulk) == (refusal, refusal is None)


def test_whatever_decodes_fits_in_parquet(tmp_path):
    document = record_of(
        u=UNION, t=TREE, n="null", deep=nested(60) | {"name": "deep"},
        e={"type": "record", "name": "e", "fields": []},
        z={"type": "fixed", "name": "z", "size": 0}, d=DURATION,
        m={"type": "map", "values": ["null", UNION[3] | {"name": "u2"}]},
    )  # fmt: skip
    deep: Any = 7
    for _ in range(60):
        deep = {"x": deep}
    value = {"u": 1, "t": {"v": 1.0, "b": b"", "children": []}, "n": None, "deep": deep, "e": {}, "z": b"",
             "d": bytes(12), "m": {"k": None, "l": {"x": b"q"}}}  # fmt: skip
    schema = schema_of(document)
    datums = [encode(schema, value)] * 3
    table = Decoder(schema).decode(datums)
    pq.write_table(table, tmp_path / "x.parquet")
    assert repr(pq.read_table(tmp_path / "x.parquet").to_pylist()) == repr(table.to_pylist())
    text = table["deep"].to_pylist()[0]
    while isinstance(text, dict):
        text = text["x"]
    assert text == '{"x": ' * 20 + "7" + "}" * 20


def test_types_that_multiply_without_end_are_refused():
    fields: list[Any] = [
        {"name": "a0", "type": {"type": "record", "name": "t0", "fields": [{"name": "x", "type": "int"}]}}
    ]
    for level in range(1, 30):
        twice = [{"name": side, "type": f"t{level - 1}"} for side in "xy"]
        fields.append({"name": f"a{level}", "type": {"type": "record", "name": f"t{level}", "fields": twice}})
    with pytest.raises(SchemaError, match="more than 20000 columns, a"):
        Decoder(schema_of({"type": "record", "name": "r", "fields": fields}))


@pytest.mark.parametrize("engine", ["auto", "fastavro"])
def test_projection_takes_names_as_they_are(engine):
    document = record_of(**{"Case": "int", "a.b": "string", "é": "int", "select": "long", "it's": "int"})
    schema = schema_of(document)
    datum = encode(schema, {"Case": 1, "a.b": "x", "é": 2, "select": 3, "it's": 4})
    decoder = Decoder(schema, engine)
    wanted = ["it's", "a.b", "Case", "é"]
    assert decoder.bulk == (engine == "auto")
    assert decoder.decode([datum], wanted).to_pylist() == [{"it's": 4, "a.b": "x", "Case": 1, "é": 2}]
    with pytest.raises(SchemaError, match="has no field 'case'"):
        decoder.decode([datum], ["case"])


def test_datums_that_were_not_checked_are_an_error_of_the_reference():
    decoder = Decoder(schema_of(record_of(a="int")), "fastavro")
    with pytest.raises(DecodeError, match="fastavro refuses a datum"):
        decoder.decode([b""])
    with pytest.raises(DecodeError, match="leaves 1 bytes"):
        decoder.decode([b"\2\2"])


def test_many_batches_stay_in_order():
    schema = schema_of(record_of(a="int"))
    table = Decoder(schema).decode([encode(schema, {"a": i}) for i in range(3000)])
    assert table["a"].to_pylist() == list(range(3000))


@pytest.mark.parametrize("levels", [1, 5, 20, 120])
def test_whatever_the_check_accepts_of_a_deep_recursive_type_decodes(levels: int) -> None:
    kind: Any = ["null", "r0"]
    for level in reversed(range(levels)):
        kind = {"type": "record", "name": f"r{level}", "fields": [{"name": "x", "type": kind}]}
    schema = schema_of(kind)
    datums = [b"\2" * depth + b"\0" for depth in range(150)]
    good = [d for d, bad in zip(datums, Checker(schema).check(datums).status, strict=True) if not bad]
    assert 1 <= len(good) < 150
    assert Decoder(schema).decode(good).num_rows == len(good)
    assert find_fault(schema, good[-1]) is None
    assert find_fault(schema, datums[len(good)]) is not None


def test_a_column_that_arrow_cannot_hold_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finkbridge.avro.columns.MOST_OFFSET", 10)
    schema = schema_of(record_of(a="string"))
    assert Decoder(schema).decode([encode(schema, {"a": "x" * 10})]).to_pylist() == [{"a": "x" * 10}]
    with pytest.raises(DecodeError, match="or makes a column too large for Arrow"):
        Decoder(schema).decode([encode(schema, {"a": "x" * 11})])


def test_columns_outlive_what_they_came_of() -> None:
    schema = schema_of(record_of(a="string", b={"type": "array", "items": ["null", "long"]}))
    values = [{"a": "x" * n, "b": [n, None] * (n % 3)} for n in range(500)]
    table = Decoder(schema).decode([encode(schema, value) for value in values])
    column = table["b"]
    del table
    gc.collect()
    assert column.to_pylist() == [value["b"] for value in values]


FEW = {"a": "string", "b": {"type": "array", "items": "long"}, "c": {"type": "map", "values": "string"}}


@pytest.mark.parametrize("field", FEW)
@pytest.mark.parametrize("slack", [0, 4096])
def test_what_few_datums_have_finds_room(monkeypatch: pytest.MonkeyPatch, field: str, slack: int) -> None:
    """Room is guessed by some datums; where that is too little, all are counted."""
    monkeypatch.setattr("finkbridge.avro.columns.SLACK", slack)
    many = {"a": "x" * 50_000, "b": list(range(7000)), "c": {str(n): "y" for n in range(7000)}}
    none: dict[str, Any] = {"a": "", "b": [], "c": {}}
    document, used = record_of(**FEW), []
    run = columns.Program._run
    monkeypatch.setattr(columns.Program, "_run", lambda *given: (used.append(1), run(*given))[1])
    both(document, [none | ({field: many[field]} if n == 9 else {}) for n in range(16)])
    assert len(used) == 4, "guessed, tried, counted, filled"


WIDE = {"type": "record", "name": "w", "fields": [
    {"name": f"f{i}", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 50}]}
    for i in range(2000)]}  # fmt: skip


@pytest.mark.parametrize(("document", "datum"), [
    (record_of(a={"type": "array", "items": {"type": "fixed", "name": "f", "size": 1 << 30}}), b"\0"),
    (record_of(a={"type": "array", "items": WIDE}), b"\2" + bytes(2000) + b"\0"),
    (record_of(a={"type": "map", "values": WIDE}), b"\2" + b"\2x" + bytes(2000) + b"\0"),
])  # fmt: skip
def test_room_is_not_made_for_what_few_bytes_cannot_have(document: Any, datum: bytes) -> None:
    """A guess for every level and column is no harm for alerts, and gigabytes for such schemas."""
    schema = schema_of(document)
    assert Checker(schema).check([datum]).status.tolist() == [0]
    table = Decoder(schema).decode([datum])
    assert same(table, Decoder(schema, "fastavro").decode([datum]))
    tracemalloc.start()
    Decoder(schema).decode([datum])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 32 << 20


def test_datums_that_change_while_they_are_decoded_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns.Program, "_fill", lambda *_: None)
    with pytest.raises(DecodeError, match="the datums changed while they were decoded"):
        Decoder(schema_of(record_of(a="int"))).decode([b"\2"])
