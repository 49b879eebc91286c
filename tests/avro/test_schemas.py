"""Writer schemas: parsed within bounds, rewritten without changing what they encode."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from finkbridge.avro import rewrite
from finkbridge.avro.schemas import parse_schema
from finkbridge.errors import SchemaError
from tests.avro.samples import SURVEYS, real_alerts, record_of, schema_of


def test_the_fingerprint_is_of_the_text_and_the_text_is_kept():
    text = b' {"type": "record", "name": "a.b", "fields": []}'
    schema = parse_schema(text)
    assert schema.text == text
    assert schema.fingerprint == hashlib.sha256(text).hexdigest()[:32]
    assert parse_schema(text.strip()).fingerprint != schema.fingerprint
    assert schema == parse_schema(bytes(bytearray(text)))
    assert repr(schema) == f"WriterSchema({schema.fingerprint}, {len(text)} bytes)"


def test_dotted_and_equal_simple_names_become_unique_simple_names():
    inner = {"type": "record", "name": "one.value", "fields": [{"name": "x", "type": "int", "doc": "D"}]}
    other = {
        "type": "record",
        "name": "value",
        "namespace": "two",
        "aliases": ["q"],
        "fields": [
            {"name": "e", "type": {"type": "enum", "name": "1é", "symbols": ["A"], "default": "A"}},
            {"name": "again", "type": ["null", "one.value"], "default": None},
            {"name": "here", "type": "1é"},
        ],
    }
    schema = schema_of(
        {
            "type": "record",
            "name": "topLevelRecord.value",
            "namespace": "ignored",
            "fields": [{"name": "a", "type": inner}, {"name": "b", "type": other}],
        }
    )
    assert schema.simple == {
        "type": "record",
        "name": "value",
        "fields": [
            {
                "name": "a",
                "type": {"type": "record", "name": "value_2", "fields": [{"name": "x", "type": "int"}]},
            },
            {
                "name": "b",
                "type": {
                    "type": "record",
                    "name": "value_3",
                    "fields": [
                        {"name": "e", "type": {"type": "enum", "name": "_1_", "symbols": ["A"]}},
                        {"name": "again", "type": ["null", "value_2"]},
                        {"name": "here", "type": "_1_"},
                    ],
                },
            },
        ],
    }
    assert json.loads(schema.simplified) == schema.simple


def test_a_name_without_dots_is_looked_up_in_its_namespace():
    document = {
        "type": "record",
        "name": "r",
        "namespace": "n.s",
        "fields": [
            {"name": "a", "type": {"type": "fixed", "name": "f", "size": 2}},
            {
                "name": "b",
                "type": {
                    "type": "record",
                    "name": "in",
                    "namespace": "other",
                    "fields": [{"name": "c", "type": "n.s.f"}],
                },
            },
            {"name": "d", "type": "f"},
        ],
    }
    simple = schema_of(document).simple
    assert simple["fields"][1]["type"]["fields"][0]["type"] == simple["fields"][2]["type"] == "f"


def test_the_rewritten_json_escapes_no_unicode():
    assert '"é漢"'.encode() in schema_of(record_of(é漢="int")).simplified


@pytest.mark.parametrize(("given", "kept"), [
    ({"type": "long", "logicalType": "timestamp-micros"}, True),
    ({"type": "int", "logicalType": "date"}, True),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, True),
    ({"type": "long", "logicalType": "date"}, False),
    ({"type": "string", "logicalType": "uuid"}, False),
    ({"type": "bytes", "logicalType": "decimal", "precision": 77}, False),
    ({"type": "bytes", "logicalType": "decimal"}, False),
    ({"type": "long", "logicalType": ["odd"]}, False),
])  # fmt: skip
def test_logical_types_stay_where_each_value_has_one(given: dict[str, Any], kept: bool):
    assert rewrite.simplify(given) == (given if kept else given["type"])


HOSTILE = {
    "no JSON": b"nope",
    "no UTF-8": b'{"type": "\xff"}',
    "lone surrogate": b'{"type":"record","name":"r","fields":[{"name":"\\ud800","type":"int"}]}',
    "deep lists": b"[" * 100_000,
    "deep dicts": b'{"type":' * 500 + b'"int"' + b"}" * 500,
    "deep arrays": b'{"type":"array","items":' * 401 + b'"int"' + b"}" * 401,
    "too large": b" " * (rewrite.MAX_SCHEMA_BYTES + 1),
    "too many values": b"[" + b"0," * rewrite.MAX_JSON_NODES + b"0]",
    "number": b"5",
    "null": b"null",
    "unknown type": b'"nope"',
    "no items": b'{"type":"array"}',
    "union in a union": b'["null",["int","null"]]',
    "type twice in a union": b'["int",{"type":"int"}]',
    "empty union": b"[]",
    "no name": b'{"type":"record","fields":[]}',
    "fields are no list": b'{"type":"record","name":"r","fields":5}',
    "field is no dict": b'{"type":"record","name":"r","fields":[5]}',
    "field twice": json.dumps(record_of(a="int", b="int")).replace("b", "a").encode(),
    "type defined twice": b'[{"type":"fixed","name":"f","size":1},{"type":"fixed","name":"f","size":2}]',
    "enum of nothing": b'{"type":"enum","name":"e","symbols":[]}',
    "negative size": b'{"type":"fixed","name":"f","size":-1}',
    "size as text": b'{"type":"fixed","name":"f","size":"3"}',
    "huge size": b'{"type":"fixed","name":"f","size":9223372036854775807}',
    "size is true": b'{"type":"fixed","name":"f","size":true}',
    "said to be parsed": b'{"__fastavro_parsed":true,"__named_schemas":{},"type":"nope"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_schema_is_refused_in_one_line(text: bytes):
    with pytest.raises(SchemaError) as caught:
        parse_schema(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_refused_field_is_named():
    with pytest.raises(SchemaError, match=r"a\.b has the unknown type 'nope'"):
        schema_of(record_of(a={"type": "record", "name": "s", "fields": [{"name": "b", "type": "nope"}]}))


def test_deep_but_honest_schemas_parse():
    kind: Any = "int"
    for level in range(100):
        kind = {"type": "record", "name": f"r{level}", "fields": [{"name": "x", "type": kind}]}
    assert len(rewrite.definitions(schema_of(kind).simple)) == 100


@pytest.mark.parametrize("survey", SURVEYS)
def test_the_real_schemas_keep_their_fields(shared_data, survey):
    schema, _ = real_alerts(shared_data, survey)
    assert [f["name"] for f in schema.simple["fields"]] == [f["name"] for f in schema.parsed["fields"]]
    assert schema.simple["name"] == "value"
    names = list(rewrite.definitions(schema.simple))
    assert len(names) == schema.text.count(b'"type": "record"')
    assert not [name for name in names if "." in name]


class Counted(set):  # type: ignore[type-arg]
    """Names that are taken; counts how often one is asked for."""

    asked = 0

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return super().__contains__(name)


def test_thousands_of_types_of_one_name_have_names_of_their_own_in_no_time():
    """Names were looked for from the beginning each time: 8,000 took half a minute."""
    types = [{"type": "fixed", "name": f"n{i}.X", "size": 1} for i in range(4_000)]
    taken = {"type": "fixed", "name": "m.X_7", "size": 1}
    fields = [{"name": f"f{i}", "type": kind} for i, kind in enumerate([taken, *types])]
    rewriter = rewrite._Rewriter()
    rewriter.taken = Counted(rewriter.taken)
    simple = rewriter.rewrite({"type": "record", "name": "r", "fields": fields}, "", "the schema")
    assert rewriter.taken.asked < 3 * len(fields)
    names = [field["type"]["name"] for field in simple["fields"]]
    assert names[:8] == ["X_7", "X", "X_2", "X_3", "X_4", "X_5", "X_6", "X_8"]
    assert len(set(names)) == len(names)
