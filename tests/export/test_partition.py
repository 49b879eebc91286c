from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.export import partition

HIVE = partition.NULL


def test_nights_by_the_rule_of_each_survey() -> None:
    jd = pa.table({"candidate": [{"jd": 2461122.5}, {"jd": 2461123.4999}, {"jd": None}, {"jd": -999.0}]})
    _, folders = partition.folders_of(jd, "time")
    nowhere = f"year={HIVE}/month={HIVE}/day={HIVE}"
    assert folders == [nowhere, "year=2026/month=03/day=23"]
    mjd = pa.table({"diaSource": [{"midpointMjdTai": 61122.49}, {"midpointMjdTai": 61122.51}]})
    elasticc = pa.table({"diaSource": [{"midPointTai": 61122.49}, {"midPointTai": 61122.51}]})
    assert partition.folders_of(elasticc, "time")[1] == partition.folders_of(mjd, "time")[1]
    assert partition.folders_of(mjd, "time")[1] == ["year=2026/month=03/day=22", "year=2026/month=03/day=23"]


def test_flat_columns_of_light_transfers_tell_the_night_too() -> None:
    flat = pa.table({"jd": [2461122.5], "year": ["x"], "month": ["y"], "day": ["z"], "n": [1]})
    ((folder, rest),) = partition.pieces(flat, "time")
    assert (folder, rest.column_names) == ("year=2026/month=03/day=23", ["jd", "n"])


def test_a_column_that_is_the_only_one_stays_in_the_files() -> None:
    alerts = pa.table({"k": ["a", "b", "a"]})
    assert [(folder, rows.num_rows) for folder, rows in partition.pieces(alerts, "k")] == [
        ("k=a", 2),
        ("k=b", 1),
    ]


@pytest.mark.parametrize(
    ("columns", "by", "said"),
    [
        ({"jd": pa.float64()}, "time", ""),
        ({"jd": pa.string()}, "time", "no observation time"),
        ({"diaSource": pa.struct([("midPointTai", pa.float64())])}, "time", ""),
        ({"candidate": pa.struct([("x", pa.int32())])}, "time", "no observation time"),
        ({"finkclass": pa.string()}, "finkclass", ""),
        ({"classId": pa.int64()}, "classId", ""),
        ({"finkclass": pa.struct([("x", pa.int32())])}, "finkclass", "no text"),
        ({"n": pa.int32()}, "tnsclass", "they have no tnsclass"),
    ],
)
def test_what_cannot_be_parted_is_told(columns: dict[str, pa.DataType], by: str, said: str) -> None:
    reason = partition.why_not(pa.schema(list(columns.items())), by)
    assert (reason == "") if not said else (said in reason)


@given(st.lists(st.one_of(st.none(), st.text(max_size=300)), min_size=1, max_size=20))
def test_every_row_is_in_one_folder_that_is_below_the_output(values: list[str | None]) -> None:
    clean = [None if v is None else v.encode(errors="replace").decode() for v in values]
    alerts = pa.table({"finkclass": pa.array(clean, pa.string()), "n": np.arange(len(clean))})
    seen: list[int] = []
    for folder, rows in partition.pieces(alerts, "finkclass"):
        assert folder.startswith("finkclass=")
        assert not {"/", "\0", "\\"} & set(folder)
        assert len(folder.encode()) <= 255
        assert len({clean[n] for n in rows["n"].to_pylist()}) == 1
        seen += rows["n"].to_pylist()
    assert sorted(seen) == list(range(len(clean)))
    folders = [folder for folder, _ in partition.pieces(alerts, "finkclass")]
    assert len(folders) == len(set(folders)) == len(set(clean))
