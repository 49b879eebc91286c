"""The user's filter: one SQL condition over the columns of ``deliveries``, by a DuckDB that can do no more.

It sees the rows that are given to it: no file, no network, no extension, and its settings are locked.
"""

from __future__ import annotations

from typing import Self

import duckdb
import pyarrow as pa

from finkbridge.errors import SettingsError
from finkbridge.quiet import open_duckdb
from finkbridge.tables import empty_deliveries

_LOCKED = (
    "SET TimeZone = 'UTC'",
    "SET threads = 1",
    "SET memory_limit = '500MB'",
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_VIEW = "deliveries"
_ROW = "_row"


class Filter:
    """Tells which rows of ``deliveries`` are wanted; close it, or use it in a ``with``.

    Parameters
    ----------
    text
        Such as ``mag < 17 AND class = 'SN candidate'``; None: all are wanted.

    Raises
    ------
    SettingsError
        It is no single expression, names a column that is not there, or is neither true nor false.
    """

    def __init__(self, text: str | None) -> None:
        self.text = text
        self._connection = open_duckdb()
        for statement in _LOCKED:
            self._connection.execute(statement)
        if text is not None:
            self._check(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its DuckDB."""
        self._connection.close()

    def wanted(self, rows: pa.Table) -> pa.Table:
        """Return the wanted ones of rows of ``deliveries``, in the same order."""
        if self.text is None or not rows.num_rows:
            return rows
        numbered = rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
        try:
            self._connection.register(_VIEW, numbered)
            kept = (
                self._connection.view(_VIEW).filter(duckdb.SQLExpression(self.text)).select(_ROW).fetchall()
            )
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            raise _wrong(error) from None
        return rows.take(pa.array(sorted(number for (number,) in kept), pa.int64()))

    def _check(self, text: str) -> None:
        try:
            text.encode()  # DuckDB takes no other text
            self._connection.extract_statements(f"SELECT ({text}\n)")  # nothing behind the expression
            expression = duckdb.SQLExpression(text)  # and nothing that ends it early
            self._connection.register(_VIEW, empty_deliveries())
            (kind,) = self._connection.view(_VIEW).select(expression).types
            self._connection.view(_VIEW).filter(expression).fetchall()
        except (duckdb.Error, ValueError) as error:
            raise _wrong(error) from None
        if str(kind) != "BOOLEAN":
            raise SettingsError(f"the filter is a {kind}, and no condition: write one such as mag < 17")


def _wrong(error: Exception) -> SettingsError:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return SettingsError(
        f"the filter cannot be used ({said}): write one condition over the columns of deliveries, such as "
        "mag < 17 AND class = 'SN candidate'"
    )
