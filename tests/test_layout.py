"""Paths are strings: built, parsed, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge import layout
from finkbridge.layout import SegmentName

topics = st.text("abcXYZ019._-", min_size=1, max_size=249)
names = st.builds(
    SegmentName,
    topics,
    st.integers(1, 99),
    st.integers(0, 10**5),
    st.integers(0, 2**63 - 1),
    st.integers(1, 10**9),
    st.integers(0, 10**5),
    st.integers(0, 10**4),
)
NAME = SegmentName("fink_sn_ztf", 1, 3, 1042, 17, 2)


@given(names)
def test_a_name_is_parsed_back(name):
    parsed = SegmentName.parse(name.stem + ".avro")
    assert parsed == SegmentName(
        layout.short_topic(name.topic),
        name.generation,
        name.partition,
        name.start,
        name.plan,
        name.part,
        name.ordinal,
    )


@given(names)
def test_a_name_fits_a_file_system(name):
    assert len(name.stem + ".parquet") <= 255


@given(names, names)
def test_two_names_never_meet(a, b):
    assert (a.stem == b.stem) == (a == b)


def test_paths():
    stem = "fink_sn_ztf-g1-p00003-o0000000000000001042-n00000017-0002-000"
    assert layout.archive_path(NAME, 1774180800000) == f"archive/fink_sn_ztf/2026-03-22/{stem}.avro"
    assert layout.archive_path(NAME, None) == f"archive/fink_sn_ztf/undated/{stem}.avro"
    assert layout.deliveries_path(NAME, "ztf", 20260322) == f"deliveries/ztf/night=20260322/{stem}.parquet"
    assert layout.packets_path(NAME, "ztf", 20260322) == f"packets/ztf/night=20260322/{stem}.parquet"
    assert layout.packets_path(NAME, "other", 0) == f"packets/other/fink_sn_ztf/night=00000000/{stem}.parquet"
    assert layout.quarantine_path(NAME) == f"quarantine/fink_sn_ztf/{stem}.avro"
    assert (
        layout.merged_path("packets/ztf/night=20260322", 7, 0)
        == "packets/ztf/night=20260322/merged-n00000007-000.parquet"
    )
    assert layout.parse_night(layout.deliveries_path(NAME, "lsst", 20260322)) == 20260322


@pytest.mark.parametrize("bad", ["", "x.avro", "fink-g1-p0.avro", "../fink-g1-p00003-o1-n1-1-0.avro"])
def test_a_strange_name_raises(bad):
    with pytest.raises(ValueError, match="not the name of a segment"):
        SegmentName.parse(bad)


def test_a_path_without_a_night_raises():
    with pytest.raises(ValueError, match="no night"):
        layout.parse_night("deliveries/ztf/x.parquet")


@given(names)
def test_the_whole_path_of_a_data_file_is_parsed_back(name):
    night = layout.night_folder(20260322)
    for path, table, survey, topic in (
        (layout.archive_path(name, 0), "archive", "", name.topic),
        (layout.quarantine_path(name), "quarantine", "", name.topic),
        (layout.deliveries_path(name, "other", 20260322), "deliveries", "other", None),
        (layout.packets_path(name, "ztf", 20260322), "packets", "ztf", None),
        (layout.packets_path(name, "other", 20260322), "packets", "other", name.topic),
        (layout.merged_path(f"packets/other/{name.topic}/{night}", 12, 0), "packets", "other", name.topic),
    ):
        found = layout.DataPath.parse(path)
        assert (found.table, found.survey, found.topic) == (table, survey, topic)
        assert found.night == (None if table in ("archive", "quarantine") else 20260322)
        assert found.merged == (12 if "merged" in path else None)
        assert found.segment == (None if "merged" in path else SegmentName.parse(f"{name.stem}.x"))


@pytest.mark.parametrize(
    "path",
    [
        "archive/t/2026-03-22/x.avro",
        f"archive/t/2026-03-22/{NAME.stem}.avro",
        f"archive/{NAME.topic}/yesterday/{NAME.stem}.avro",
        f"archive/{NAME.topic}/2026-03-22/{NAME.stem}.avro.bak",
        f"packets/other/night=20260322/{NAME.stem}.parquet",
        f"deliveries/ztf/{NAME.topic}/night=20260322/{NAME.stem}.parquet",
        f"deliveries/ztf/20260322/{NAME.stem}.parquet",
        f"../archive/{NAME.topic}/2026-03-22/{NAME.stem}.avro",
        "ledger.db",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(ValueError, match=r"not |another topic|no night"):
        layout.DataPath.parse(path)


def test_what_lies_beside_the_data_folders():
    """Databases have logs, and a ledger that was set aside has the date in its name."""
    names = ["ledger.db", "ledger.db-wal", "ledger.db.20261127T120000Z", "lake.id.new", "lost+found"]
    assert all(map(layout.is_beside, [*names, "catalog.duckdb.wal", "bot.db-shm", "ledger.lock"]))
    assert not any(map(layout.is_beside, ["archive", "notes", "ledger", "ledger.dbx", "bot", ".git"]))


def test_folders_of_every_data_file_are_data_folders():
    paths = (
        layout.archive_path(NAME, None),
        layout.archive_path(NAME, 0),
        layout.quarantine_path(NAME),
        layout.deliveries_path(NAME, "ztf", 20260322),
        layout.packets_path(NAME, "ztf", 20260322),
        layout.packets_path(NAME, "other", 0),
        layout.scratch_path("x", ".avro"),
    )
    for path in paths:
        parts = path.split("/")[:-1]
        assert all(layout.is_data_folder("/".join(parts[:n])) for n in range(1, len(parts) + 1)), path
    odd = ("archive/t/yesterday", "quarantine/t/2026-03-22", "packets/ztf/20260322", ".scratch/x", "notes")
    assert not any(map(layout.is_data_folder, odd))


def test_what_a_file_system_keeps_is_no_stray() -> None:
    assert all(
        map(layout.is_beside, (".nfs00000000012c0001", ".fuse_hidden000001", "lost+found", "ledger.db-wal"))
    )
    assert not any(map(layout.is_beside, (".hidden", "nfs1", "notes.txt")))
