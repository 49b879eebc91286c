"""What ``finkbridge sql`` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finkbridge.cli.main import main
from tests.hostile.test_names import ztf_like
from tests.support.offline import fill, messages_of

QUERY = "SELECT 1 AS a, 2 AS b, 3 AS a, 4 AS c"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("sql") / "lake"
    fill(lake, {"t": messages_of([ztf_like("ZTF1", 1)])})
    return lake


def test_columns_of_one_name_keep_their_values(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for form in ("--json", "--csv", ""):
        assert main(["sql", QUERY, "--lake", str(lake), *filter(None, [form])]) == 0
        said[form] = capsys.readouterr().out
    assert json.loads(said["--json"]) == [{"a": 1, "b": 2, "a_1": 3, "c": 4}]
    assert said["--csv"] == "a,b,a_1,c\n1,2,3,4\n"
    header, values = said[""].splitlines()
    assert (header.split(), values.split()) == (["a", "b", "a_1", "c"], ["1", "2", "3", "4"])


def test_a_name_that_is_taken_is_not_given_again(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT 1 AS a, 2 AS a_1, 3 AS a"
    assert main(["sql", query, "--lake", str(lake), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "a_1": 2, "a_2": 3}]


def test_every_kind_of_value_has_a_form_in_json(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = """SELECT 1.5 AS dec, TIME '01:02:03' AS t,
        TIMESTAMP '2026-01-02 03:04:05' AS at, DATE '2026-01-02' AS d,
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID AS u, INTERVAL 90 SECOND AS i, 'nan'::DOUBLE AS n,
        [1.5, NULL] AS l, {'x': TIME '01:02:03'} AS s, MAP {1: 'a'} AS m, '\\xff'::BLOB AS b, true AS yes,
        170141183460469231731687303715884105727 AS huge, '101'::BIT AS bit"""
    assert main(["sql", query, "--lake", str(lake), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "dec": 1.5, "t": "01:02:03", "at": "2026-01-02T03:04:05", "d": "2026-01-02",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "i": 90.0, "n": None, "l": [1.5, None],
        "s": {"x": "01:02:03"}, "m": {"1": "a"}, "b": "ff", "yes": True,
        "huge": 170141183460469231731687303715884105727, "bit": "101",
    }  # fmt: skip
