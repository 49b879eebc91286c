"""polars over exactly the files that the ledger lists."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pyarrow as pa

from finkbridge.errors import SettingsError
from finkbridge.kinds import clashing_columns
from finkbridge.lakefiles import FileGroup, file_groups
from finkbridge.ledger.adopt import open_known
from finkbridge.quiet import open_duckdb
from finkbridge.surveys import SURVEYS
from finkbridge.tables import empty_deliveries, empty_packets

TABLES = ("deliveries", *(f"packets_{survey}" for survey in SURVEYS))


def scan(
    table: str = "deliveries",
    lake: str | os.PathLike[str] = "lake",
    ledger: str | None = None,
    survey: str | None = None,
) -> pl.LazyFrame:
    """Return a table of the lake as a polars LazyFrame.

    Filters and selections reach the Parquet files. Of nights that a filter rules out no file is opened but
    the first of each schema. A filter by ``survey`` opens all files, as none has that column: ask here.

    Parameters
    ----------
    table
        ``deliveries``, ``packets_ztf``, ``packets_lsst`` or ``packets_other``.
    lake
        Folder of the lake.
    ledger
        SQLAlchemy URL of the ledger, if it is not in the lake.
    survey
        ``ztf``, ``lsst`` or ``other``, for ``deliveries`` of this survey alone; None: of all.

    Returns
    -------
    polars.LazyFrame
        The columns of the view of the same name in ``catalog.duckdb``; names that differ in case are two
        columns here. As there, a column of ``packets_*`` whose kind differs from schema to schema (a list and
        a struct, a number and text) is JSON text, made only where the column is asked for. Units are in the
        Parquet fields' metadata and in ``docs/lake.md``.

    Raises
    ------
    LakeError
        There is no lake.
    SettingsError
        There is no such table or survey.

    Examples
    --------
    >>> finkbridge.scan("deliveries").filter(pl.col("mag") < 18).select("object_id", "mag").collect()
    """
    if table not in TABLES:
        raise SettingsError(f"no table {table!r}: there are {', '.join(TABLES)}")
    folder = Path(lake)
    name, _, only = table.partition("_")
    if survey is not None and survey not in ((only,) if only else SURVEYS):
        raise SettingsError(f"{table} has no survey {survey!r}: there are {', '.join(SURVEYS)}")
    wanted = only or survey
    with open_known(folder, ledger) as opened:
        groups = [g for g in file_groups(opened, name) if not wanted or g.survey == wanted]
    empty = empty_packets() if only else empty_deliveries()
    clashing = clashing_columns((group.schema for group in groups), str)
    start = pl.from_arrow(empty).lazy()  # type: ignore[union-attr]
    frames = (_scan(group, folder, clashing, with_survey=not only) for group in groups)
    return pl.concat([start, *frames], how="diagonal_relaxed")


def _scan(group: FileGroup, lake: Path, clashing: set[str], *, with_survey: bool) -> pl.LazyFrame:
    paths = [lake / path for path in group.paths]
    frame = pl.scan_parquet(paths, hive_partitioning=True, hive_schema={"night": pl.Int32})
    frame = frame.with_columns(_as_json(field) for field in group.schema if field.name in clashing)
    return frame.with_columns(survey=pl.lit(group.survey)) if with_survey else frame


def _as_json(field: pa.Field) -> pl.Expr:
    """Return a column as the catalog's views have it: DuckDB's own JSON text."""

    def texts(values: pl.Series) -> pl.Series:
        column = values.to_arrow().cast(field.type)  # polars has no maps
        asked = pa.table({"value": column, "place": range(len(column))})  # noqa: F841 - DuckDB finds it by its name
        with open_duckdb() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            query = "SELECT CAST(to_json(value) AS VARCHAR) AS json FROM asked ORDER BY place"
            return pl.Series(values.name, connection.sql(query).arrow().read_all()["json"])

    return pl.col(field.name).map_batches(texts, return_dtype=pl.String, is_elementwise=True)
