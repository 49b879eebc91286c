"""DuckDB as commands need it: what is printed is theirs alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb


def open_duckdb(
    path: Path | None = None, *, read_only: bool = False, config: Mapping[str, str] | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a connection that prints no progress bar: it would come into the output, after two seconds.

    Parameters
    ----------
    path
        Of the database; None: one in memory.
    read_only
        Whether others may have it open too.
    config
        DuckDB's options by name.
    """
    connection = duckdb.connect(str(path or ":memory:"), read_only=read_only, config=dict(config or {}))
    connection.execute("SET enable_progress_bar = false")
    return connection
