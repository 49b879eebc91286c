"""polars over exactly the files that the ledger lists."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from finkbridge.errors import SettingsError
from finkbridge.lakefiles import FileGroup, file_groups
from finkbridge.ledger import Ledger
from finkbridge.surveys import SURVEYS
from finkbridge.tables import empty_deliveries, empty_packets

TABLES = ("deliveries", *(f"packets_{survey}" for survey in SURVEYS))


def scan(
    table: str = "deliveries", lake: str | os.PathLike[str] = "lake", ledger: str | None = None
) -> pl.LazyFrame:
    """Return a table of the lake as a polars LazyFrame.

    Filters and selections reach the Parquet files; files of nights, or of whole surveys, that a filter rules
    out are never opened.

    Parameters
    ----------
    table
        ``deliveries``, ``packets_ztf``, ``packets_lsst`` or ``packets_other``.
    lake
        Folder of the lake.
    ledger
        SQLAlchemy URL of the ledger, if it is not in the lake.

    Returns
    -------
    polars.LazyFrame
        The columns of the view of the same name in ``catalog.duckdb``, but for those of ``packets_*`` whose
        kind differs from schema to schema, where the view has JSON text. Here polars makes one kind of
        theirs by its own rules (text of numbers, a struct of a number), names that differ in case are two
        columns, and where kinds do not meet (a list and a struct) collecting fails. Units are in the Parquet
        fields' metadata and in ``docs/lake.md``.

    Raises
    ------
    LakeError
        There is no lake.
    SettingsError
        There is no such table.

    Examples
    --------
    >>> finkbridge.scan("deliveries").filter(pl.col("mag") < 18).select("object_id", "mag").collect()
    """
    if table not in TABLES:
        raise SettingsError(f"no table {table!r}: there are {', '.join(TABLES)}")
    folder = Path(lake)
    name, _, survey = table.partition("_")
    with Ledger(folder, ledger) as opened:
        groups = [g for g in file_groups(opened, name) if not survey or g.survey == survey]
    empty = empty_packets() if survey else empty_deliveries()
    start = pl.from_arrow(empty).lazy()  # type: ignore[union-attr]
    return pl.concat(
        [start, *(_scan(g, folder, with_survey=not survey) for g in groups)], how="diagonal_relaxed"
    )


def _scan(group: FileGroup, lake: Path, *, with_survey: bool) -> pl.LazyFrame:
    frame = pl.scan_parquet(_paths(group, lake), hive_partitioning=True, hive_schema={"night": pl.Int32})
    return frame.with_columns(survey=pl.lit(group.survey)) if with_survey else frame


def _paths(group: FileGroup, lake: Path) -> list[Path]:
    return [lake / path for path in group.paths]
