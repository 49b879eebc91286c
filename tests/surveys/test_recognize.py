"""The survey is told by the schema, Arrow's or Avro's alike."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from finkbridge.surveys import cutout_columns, survey_of, survey_of_avro
from tests.surveys import small
from tests.surveys.avro_tables import Alerts, arrow_schema

POSITION = ["ra", "dec"]


def record(name: str, *fields: Any) -> dict[str, Any]:
    named = [f if isinstance(f, dict) else {"name": f, "type": ["null", "double"]} for f in fields]
    return {"type": "record", "name": name, "fields": named}


def nested(name: str, *fields: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", record(f"of_{name}", *fields)]}


@pytest.mark.parametrize(
    ("schema", "survey"),
    [
        (record("a", "objectId", "candid", nested("candidate", "jd", *POSITION)), "ztf"),
        (record("a", "objectId", "candid", nested("candidate", "jd", "ra")), "other"),
        (record("a", "objectId", nested("candidate", "jd", *POSITION)), "other"),
        (record("a", "objectId", "candid", "candidate"), "other"),
        (record("a", "objectId"), "other"),
        (record("a", "diaSourceId", nested("diaSource", "midpointMjdTai", *POSITION)), "lsst"),
        (record("a", "diaSourceId", nested("diaSource", "midPointTai", *POSITION)), "other"),
        (record("a", "diaSourceId", "diaSource"), "other"),
        (record("a"), "other"),
    ],
)
def test_by_fields(schema: dict[str, Any], survey: str) -> None:
    assert survey_of_avro(schema) == survey
    assert survey_of(arrow_schema(schema)) == survey


def test_a_record_named_before_is_found_by_its_name() -> None:
    source = record("source", "midpointMjdTai", *POSITION)
    first = {"name": "template", "type": source}
    assert (
        survey_of_avro(record("a", "diaSourceId", first, {"name": "diaSource", "type": "source"})) == "lsst"
    )


@pytest.mark.parametrize(
    "schema", ["string", {"type": "string"}, ["null", "string"], {"type": "map", "values": "int"}]
)
def test_a_schema_that_is_no_record_is_other(schema: Any) -> None:
    assert survey_of_avro(schema) == "other"


def test_real_alerts(ztf_alerts: Alerts, lsst_alerts: Alerts) -> None:
    for survey, alerts in {"ztf": ztf_alerts, "lsst": lsst_alerts}.items():
        assert survey_of(alerts.table.schema) == survey_of_avro(alerts.schema) == survey
        without = alerts.table.drop_columns(list(cutout_columns(survey)))
        assert survey_of(without.schema) == survey
        assert not any("cutout" in name for name in without.column_names)


def test_small_alerts_are_what_they_claim() -> None:
    assert (survey_of(small.ZTF), survey_of(small.LSST)) == ("ztf", "lsst")
    assert survey_of(pa.schema({})) == "other"
    assert cutout_columns("other") == ()
