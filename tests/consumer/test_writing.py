"""Alerts that a script has in hand become files that every Avro reader reads."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

import finkbridge
from finkbridge.errors import AlertExistsError, SaveError, SchemaError
from tests.consumer.samples import simulated, values_of
from tests.support.lake import same

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "fields": [{"name": "objectId", "type": "string"}, {"name": "candid", "type": "long"}],
}
ALERT = {"objectId": "ZTF26a", "candid": 7}


def test_an_alert_that_was_read_is_written_again(tmp_path: Path, shared_data: Path) -> None:
    file = next(iter(sorted((shared_data / "ztf").glob("*.avro"))))
    alert = finkbridge.AlertReader(file).to_list()[0]
    with file.open("rb") as stream:
        schema = fastavro.reader(stream).writer_schema
    (tmp_path / "s.avsc").write_text(json.dumps(schema))
    for number, given in enumerate((schema, tmp_path / "s.avsc", str(tmp_path / "s.avsc"))):
        written = finkbridge.write_alert(alert, given, tmp_path / str(number))
        assert written == tmp_path / str(number) / f"{alert['objectId']}_{alert['candid']}.avro"
        assert same(values_of(written), values_of(file)[:1])


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        ((), "ZTF26a_7.avro"),
        (("candid",), "7.avro"),
        (("candid", "objectId"), "7_ZTF26a.avro"),
        ((None, None), "ZTF26a_7.avro"),
    ],
)
def test_fields_name_the_file(tmp_path: Path, ids: tuple[str, ...], name: str) -> None:
    assert finkbridge.write_alert(ALERT, SCHEMA, tmp_path, *ids) == tmp_path / name


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    written = finkbridge.write_alert({**ALERT, "objectId": "../../x"}, SCHEMA, tmp_path / "db", "objectId")
    assert written.parent == tmp_path / "db"
    assert [path.name for path in tmp_path.iterdir()] == ["db"]
    for bad in ("../out.avro", "", "..", "a\0b", "sub/x.avro"):
        with pytest.raises(SaveError, match="is no file name"):
            finkbridge.write_alerts([ALERT], SCHEMA, tmp_path, bad, overwrite=True)


def test_what_is_there_stays_unless_it_may_go(tmp_path: Path) -> None:
    first = finkbridge.write_alert(ALERT, SCHEMA, tmp_path, "objectId")
    other = {**ALERT, "candid": 8}
    with pytest.raises(FileExistsError, match="there already"):
        finkbridge.write_alert(other, SCHEMA, tmp_path, "objectId")
    with pytest.raises(AlertExistsError):
        finkbridge.write_alerts([other], SCHEMA, tmp_path, first.name)
    assert values_of(first) == [ALERT]
    finkbridge.write_alert(other, SCHEMA, tmp_path, "objectId", overwrite=True)
    assert values_of(first) == [other]


def test_one_of_several_alerts_of_a_trigger_has_no_name_of_its_own(tmp_path: Path) -> None:
    fields = [*SCHEMA["fields"], {"name": "triggerId", "type": "string"}]
    alert = {"objectId": "Z", "triggerId": "bn", "candid": 0}
    with pytest.raises(SaveError, match="say id1"):
        finkbridge.write_alert(alert, {**SCHEMA, "fields": fields}, tmp_path)


def test_the_same_alert_gives_the_same_file_and_long_names_are_cut(tmp_path: Path) -> None:
    alert = {**ALERT, "objectId": "x" * 400}
    files = [finkbridge.write_alert(alert, SCHEMA, tmp_path / name, "objectId") for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].name) < 250
    (tmp_path / "plain").write_bytes(b"")
    assert files[0].stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert [path.name for path in (tmp_path / "a").iterdir()] == [files[0].name]


def test_an_error_of_the_callers_own_is_the_callers(tmp_path: Path) -> None:
    def alerts() -> Iterator[dict[str, Any]]:
        yield ALERT
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        finkbridge.write_alerts(alerts(), SCHEMA, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(SaveError, match=r"db/ZTF26a_7\.avro cannot be written: "):
        finkbridge.write_alert(ALERT, SCHEMA, tmp_path / "db")


def test_many_alerts_are_one_file(tmp_path: Path) -> None:
    many = [{**ALERT, "candid": number} for number in range(1000)]
    parsed = fastavro.parse_schema(SCHEMA)
    written = finkbridge.write_alerts(iter(many), parsed, tmp_path / "new", "many.avro")
    assert values_of(written) == many
    assert finkbridge.AlertReader(written).to_list() == many
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["many.avro"]


@pytest.mark.parametrize(
    ("alert", "schema", "error", "says"),
    [
        ({"objectId": 3, "candid": 7}, SCHEMA, SchemaError, "not of the schema"),
        ({"objectId": "a"}, SCHEMA, SchemaError, "not of the schema"),
        ({"objectId": "a", "candid": 2**70}, SCHEMA, SchemaError, "not of the schema"),
        (ALERT, {"type": "no such"}, SchemaError, "no such"),
        (ALERT, {}, SchemaError, "type"),
        (ALERT, None, SchemaError, "None is no schema"),
        (ALERT, b"{}", SchemaError, "is no schema"),
        ({**ALERT, "objectId": ""}, SCHEMA, SaveError, "say id1"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, alert: dict[str, Any], schema: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as refused:
        finkbridge.write_alert(alert, schema, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_field_that_is_not_there_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="no trigger, which"):
        finkbridge.write_alert(ALERT, SCHEMA, tmp_path, "trigger")


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_simulated_alerts_of_both_surveys(tmp_path: Path, survey: str) -> None:
    ((key, value),) = simulated(survey, 1)
    schema = json.loads(key or b"")
    alert = fastavro.schemaless_reader(io.BytesIO(value or b""), fastavro.parse_schema(schema), None)
    assert isinstance(alert, dict)
    assert same(values_of(finkbridge.write_alert(alert, schema, tmp_path)), [alert])
