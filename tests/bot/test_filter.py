"""The user's filter: a condition over deliveries, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finkbridge.bot.filter import Filter
from finkbridge.errors import SettingsError
from finkbridge.tables import empty_deliveries

TIME = datetime(2026, 3, 22, 11, tzinfo=UTC)


def rows(**columns: list[object]) -> pa.Table:
    """Return rows of deliveries with these columns, all others null."""
    schema = empty_deliveries().schema
    count = len(next(iter(columns.values())))
    return pa.table({f.name: columns.get(f.name, [None] * count) for f in schema}, schema=schema)


@pytest.fixture
def some() -> pa.Table:
    names = ["a", "b", "c", "d"]
    return rows(
        object_id=names, mag=[16.0, 18.0, None, 15.0], received=[TIME] * 4, topic=["t", "u", "t", "t"]
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (None, "abcd"),
        ("mag < 17", "ad"),
        ("mag < 17 OR mag IS NULL -- both", "acd"),
        ("topic = 't' AND object_id NOT IN ('a', 'c')", "d"),
        ("received > TIMESTAMPTZ '2026-03-22 10:00Z'", "abcd"),
        ("received > now() - INTERVAL 1 HOUR", ""),
        ("\"class\" = 'SN candidate'", ""),
        ("regexp_matches(object_id, '[bc]')", "bc"),
        ("mag < (SELECT avg(mag) FROM deliveries)", "ad"),
    ],
)
def test_it_keeps_the_wanted_rows_in_order(some: pa.Table, text: str | None, kept: str) -> None:
    with Filter(text) as wanted:
        for _ in range(2):
            found = wanted.wanted(some)
            assert "".join(found.column("object_id").to_pylist()) == kept
            assert found.schema == some.schema
        assert wanted.wanted(some.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "--", "mag", "mag, true", "*", "nosuch > 1", "mag < ?", "mag < $1", "count(*) > 0",
        "(mag < 2", "mag < 2)", "mag < 2) UNION SELECT (true", "mag < 2; DROP VIEW deliveries",
        "mag < 2 FROM deliveries", "true LIMIT 0",
        "true ORDER BY 1", "(COPY (SELECT 1) TO 'x')", "object_id", "'true", "1 = 1 \0 OR", "\ud800 = 'a'",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="the filter") as caught:
        Filter(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT count(*) FROM read_text('{file}')) > 0",
        "(SELECT count(*) FROM '{file}') > 0",
        "(SELECT count(*) FROM read_csv('{file}')) > 0",
        "(SELECT count(*) FROM glob('{folder}/*')) > 0",
        "(SELECT count(*) FROM read_parquet('https://127.0.0.1:1/x.parquet')) > 0",
        "(SELECT count(*) FROM sqlite_scan('{file}', 't')) > 0",
        "(SELECT count(*) FROM some) > 0",
        "getenv('HOME') = 'x'",
    ],
)
def test_it_reaches_nothing_but_its_rows(some: pa.Table, tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(SettingsError):
        Filter(text.format(file=file, folder=tmp_path))


def test_its_settings_are_locked() -> None:
    with Filter("mag < 17") as wanted:
        connection = wanted._connection
        for statement in (
            "SET enable_external_access = true",
            "SET lock_configuration = false",
            "ATTACH ':memory:x.db'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "COPY (SELECT 1) TO '/tmp/finkbridge-must-not-be'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


def test_what_fails_on_a_row_is_an_error(some: pa.Table) -> None:
    with Filter("object_id::INTEGER > 3") as wanted, pytest.raises(SettingsError, match="Could not convert"):
        wanted.wanted(some)


@given(st.text(max_size=40))
@example("mag < 2)--")
@example("/* ")
def test_no_text_does_anything_else(text: str) -> None:
    try:
        with Filter(text) as wanted:
            assert wanted.wanted(rows(mag=[1.0, 2.0])).num_rows <= 2
    except SettingsError:
        pass
