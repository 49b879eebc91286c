"""Asks the lake for the command line, and prints what it answers."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from finkbridge import catalog
from finkbridge.cli import output
from finkbridge.cli.interrupting import interruptible
from finkbridge.cli.options import App
from finkbridge.errors import SettingsError
from finkbridge.ledger.adopt import open_known


def run(app: App, text: str, *, as_csv: bool, as_json: bool) -> None:
    """Print what a query finds."""
    settings = app.settings()
    with (
        open_known(settings.lake, settings.ledger_url) as ledger,
        catalog.connect(ledger, text, settings) as connection,
    ):
        names, kinds, rows = _ask(connection, text)
    if as_json:
        output.emit_json([dict(zip(names, map(_plain, row), strict=True)) for row in rows])
    elif as_csv:
        lines = [names, *rows]
        is_seen = sys.stdout.isatty()
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [list(map(output.safe, line)) for line in lines] if is_seen else lines
        )
    else:
        output.table([list(map(_shown, row, kinds)) for row in rows], names)


def _ask(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[list[str], list[str], list[Any]]:
    """Return the names and types of the columns, and the rows."""
    try:
        with interruptible(connection.interrupt):
            result = connection.execute(text)
            described = [(name, str(kind)) for name, kind, *_ in result.description or ()]
            return (
                _distinct(name for name, _ in described),
                [kind for _, kind in described],
                result.fetchall(),
            )
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        raise SettingsError(f"the query failed: {error}") from None


def _distinct(names: Iterable[str]) -> list[str]:
    """Return columns' names, each once, as DuckDB names those of a subquery: ``a``, ``a_1``."""
    found: dict[str, None] = {}
    for name in names:
        candidates = (name, *(f"{name}_{number}" for number in range(1, len(found) + 1)))
        found[next(candidate for candidate in candidates if candidate not in found)] = None
    return list(found)


def _shown(value: Any, kind: str) -> Any:
    """Return a value for the table: all digits, and no thousands, as numbers may be names or dates."""
    if isinstance(value, float):
        return f"{value:.7g}" if kind == "FLOAT" else f"{value:.15g}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinities are null, bytes are hex."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Decimal):
        return float(value)
    is_plain = value is None or isinstance(value, bool | int | float | str)
    return value if is_plain or isinstance(value, date | timedelta) else str(value)
