from __future__ import annotations

import json
from pathlib import Path

import fastavro
import pytest

from finkbridge.simulator.schemas import SCHEMAS, schema_text
from finkbridge.simulator.schemas.build import array, fields, mapping, record, struct


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_schema_is_the_real_one(shared_data: Path, survey: str) -> None:
    files = list((shared_data / survey).glob("*.avro"))
    assert files
    for file in files:
        with file.open("rb") as stream:
            real = json.loads(fastavro.reader(stream).metadata["avro.schema"])
        assert json.loads(schema_text(survey)) == real


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_schema_is_compact_and_has_no_documentation(survey: str) -> None:
    text = schema_text(survey)
    assert b" " not in text
    assert b'"doc"' not in text
    assert SCHEMAS[survey]["name"] == "topLevelRecord.value"
    fastavro.parse_schema(json.loads(text))


def test_build_writes_what_spark_writes() -> None:
    point = fields("x:int")
    schema = record(
        "value", [struct("a", point), array("b", point), mapping("c", "string"), *fields("d:bytes")]
    )
    assert schema == {
        "type": "record",
        "name": "topLevelRecord.value",
        "fields": [
            {"name": "a", "type": {"type": "record", "name": "topLevelRecord.a", "fields": point}},
            {
                "name": "b",
                "type": [
                    {
                        "type": "array",
                        "items": [{"type": "record", "name": "topLevelRecord.b", "fields": point}, "null"],
                    },
                    "null",
                ],
            },
            {"name": "c", "type": [{"type": "map", "values": ["string", "null"]}, "null"]},
            {"name": "d", "type": ["bytes", "null"]},
        ],
    }
    assert point == [{"name": "x", "type": ["int", "null"]}]
