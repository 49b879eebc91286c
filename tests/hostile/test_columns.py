"""Schemas whose names hide, double or break columns: each value is read, and nobody else's view breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import finkbridge
from finkbridge import layout
from finkbridge.cli.main import main
from finkbridge.drain import open_bridge
from tests.hostile.test_names import keyed, ztf_like
from tests.support.lake import Record, sql
from tests.support.offline import assert_verified, fill, messages_of, point, settings_of

NO_CLUSTER = {"ztf": {"servers": "127.0.0.1:1"}}


def flat(**values: Any) -> Record:
    """Return a record of texts and whole numbers."""
    fields = [{"name": n, "type": "string" if isinstance(v, str) else "long"} for n, v in values.items()]
    return keyed({"type": "record", "name": "r", "fields": fields}, values)


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({"a": 1, "A": "z"}, {"a": 1, "A_": "z"}),
        ({"night": "mine", "Night": 5}, {"night_": "mine", "Night_2": 5}),
        ({"_topic": "p", "_topic_": "q"}, {"_topic_2": "p", "_topic_": "q"}),
    ],
)
def test_every_value_has_a_column_of_its_own(
    tmp_path: Path, values: dict[str, Any], columns: dict[str, Any]
) -> None:
    lake = tmp_path / "lake"
    fill(lake, {"good": messages_of([point(1.0)]), "evil": messages_of([flat(**values)])})
    assert sql(lake, "SELECT x FROM packets_other WHERE _topic = 'good'") == [(1.0,)]
    named = ", ".join(f'"{name}"' for name in columns)
    assert sql(lake, f"SELECT {named} FROM packets_other WHERE _topic = 'evil'") == [tuple(columns.values())]
    mine = finkbridge.scan("packets_other", lake).filter(pl.col("_topic") == "evil").collect()
    assert mine.select(*columns).rows() == [tuple(columns.values())]
    assert sql(lake, "SELECT DISTINCT night FROM packets_other") == [(20260320,)]
    assert_verified(lake)


def clashing() -> list[Record]:
    """Return two messages whose fields have the same names, and for the most part nothing else in common."""
    document = {"type": "record", "name": "r"}
    kinds: list[dict[str, Any]] = [
        {
            "x": {"type": "array", "items": "int"}, "m": {"type": "map", "values": "int"}, "b": "bytes",
            "t": {"type": "long", "logicalType": "timestamp-micros"}, "deep": record_of(v=record_of(w="int")),
            "same": record_of(v="int"), "n": "int",
        },
        {
            "x": record_of(v="int"), "m": "string", "b": "string",
            "t": "string", "deep": record_of(v={"type": "array", "items": "int"}),
            "same": record_of(v="long", more="string"), "n": "double",
        },
    ]  # fmt: skip
    values = [
        {
            "x": [1, 2],
            "m": {"k": 1},
            "b": b"\xff\0a",
            "t": 1,
            "deep": {"v": {"w": 1}},
            "same": {"v": 1},
            "n": 1,
        },
        {
            "x": {"v": 1},
            "m": "z",
            "b": "x",
            "t": "now",
            "deep": {"v": [3]},
            "same": {"v": 2, "more": "u"},
            "n": 1.5,
        },
    ]
    fields = [[{"name": n, "type": named(n, t)} for n, t in some.items()] for some in kinds]
    return [keyed({**document, "fields": f}, value) for f, value in zip(fields, values, strict=True)]


def record_of(**types: Any) -> dict[str, Any]:
    return {"type": "record", "fields": [{"name": n, "type": named(n, t)} for n, t in types.items()]}


def named(name: str, kind: Any) -> Any:
    return {"name": f"r_{name}", **kind} if isinstance(kind, dict) and kind["type"] == "record" else kind


def test_columns_whose_kinds_clash_are_text_in_views_and_in_scans_alike(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first, second = clashing()
    fill(lake, {"a": messages_of([first, first]), "b": messages_of([second])})
    columns = ["x", "m", "b", "t", "deep", "same", "n"]
    rows = sql(lake, f"SELECT {', '.join(columns)} FROM packets_other ORDER BY _topic")
    assert rows[1:] == [
        ("[1,2]", '{"k":1}', '"\\\\xFF\\\\x00a"', '"1970-01-01 00:00:00.000001+00"', '{"v":{"w":1}}',
         {"v": 1, "more": None}, 1.0),
        ('{"v":1}', '"z"', '"x"', '"now"', '{"v":[3]}', {"v": 2, "more": "u"}, 1.5),
    ]  # fmt: skip
    frame = finkbridge.scan("packets_other", lake).sort("_topic")
    assert frame.select(columns).collect().rows() == rows
    assert frame.filter(pl.col("x") == '{"v":1}').select("m", "_topic").collect().rows() == [('"z"', "b")]
    assert frame.select(pl.len()).collect().item() == 3
    assert frame.select("n").collect()["n"].to_list() == [1.0, 1.0, 1.5]


def test_view_that_duckdb_refuses_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    monkeypatch.setattr("finkbridge.tables.alert_columns", list)  # as a finkbridge with a fault may have
    topics = {"ztf": [ztf_like("ZTF1", 1)], "evil": [flat(a=1, A="z")]}
    fill(lake, {topic: messages_of(records) for topic, records in topics.items()})
    assert sql(lake, "FROM packets_other") == []
    assert sql(lake, "SELECT count(*) FROM deliveries") == [(2,)]
    assert sql(lake, "SELECT object_id, mag FROM lightcurve('ZTF1')") == [("ZTF1", 18.0)]
    with open_bridge(settings_of(lake, clusters=NO_CLUSTER)) as bridge:
        (lake / layout.CATALOG).unlink()
        (problem,) = bridge.publish()
    assert problem.startswith("DuckDB refuses the view packets_other, which is empty (")
    assert main(["catalog", "--lake", str(lake)]) == 1
    assert "problem: DuckDB refuses the view packets_other" in capsys.readouterr().err
    assert main(["sql", "FROM packets_other", "--lake", str(lake)]) == 0
    assert "warning: DuckDB refuses the view packets_other" in capsys.readouterr().err


BASE = {"jd": 2461100.5, "ra": 10.0, "dec": 20.0, "fid": 1, "magpsf": 18.0}


@pytest.mark.parametrize(
    ("candidate", "history", "mags"),
    [
        ({"MAGPSF": "abc", **BASE}, {"MAGPSF": "abc", **BASE}, [None, None]),
        ({**BASE, "MAGPSF": "abc"}, {**BASE, "MagPsf": "abc", "MAGPSF": 1}, [18.0, 18.0]),
        ({**BASE, "JD": "x", "magpsf_1": "y", "MAGPSF": "z"}, {"PID": "x", **BASE}, [18.0, 18.0]),
    ],
)
def test_lightcurve_is_not_broken_by_a_twin_of_a_field(
    tmp_path: Path, candidate: dict[str, Any], history: dict[str, Any], mags: list[float | None]
) -> None:
    """The attack names its victim's object; the victim's own points stay, and nothing fails."""
    lake = tmp_path / "lake"
    evil = alert_with(candidate, history)
    fill(lake, {"good": messages_of([ztf_like("ZTF1", 7)]), "evil": messages_of([evil])})
    rows = sql(lake, "SELECT source_id, mag, kind FROM lightcurve('ZTF1') ORDER BY source_id NULLS LAST")
    assert (7, 18.0, "alert") in rows
    assert sorted(map(str, (mag for source_id, mag, _ in rows if source_id != 7))) == sorted(map(str, mags))
    assert sql(lake, "SELECT count(*) FROM packets_ztf") == [(2,)]


def alert_with(candidate: dict[str, Any], history: dict[str, Any]) -> Record:
    """Return a ZTF alert with fields of these names in its own detection and in its history."""
    kinds = {str: "string", int: "int", float: "double"}

    def record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}

    own, older = (
        record(name, {n: kinds[type(v)] for n, v in values.items()})
        for name, values in (("candidate", candidate), ("older", history))
    )
    fields = {"objectId": "string", "candid": "long", "candidate": own}
    document = record("alert", {**fields, "prv_candidates": {"type": "array", "items": older}})
    return keyed(
        document, {"objectId": "ZTF1", "candid": 1, "candidate": candidate, "prv_candidates": [history]}
    )
