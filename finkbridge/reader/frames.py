"""Tables and dicts as pandas has them; pandas is an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from finkbridge.errors import SettingsError

try:
    import pandas as pd
except ModuleNotFoundError:
    raise SettingsError(
        "pandas is not installed: pip install 'finkbridge[pandas]', or use to_polars"
    ) from None


def frame_of_dicts(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return dicts as rows, as they are."""
    return pd.DataFrame(records)


def frame_of_table(make: Callable[[], pa.Table]) -> pd.DataFrame:
    """Return a table as columns of numpy, and of Arrow where they are nested or would lose digits."""
    table = make()
    columns = {name: _series(table.column(name)) for name in table.column_names}
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def with_objects(frame: pd.DataFrame, objects: dict[str, list[Any]], order: Iterable[str]) -> pd.DataFrame:
    """Return a frame with further columns of Python's objects, all columns in an order."""
    added = {name: pd.Series(values, frame.index, dtype=object) for name, values in objects.items()}
    return pd.DataFrame({name: added[name] if name in added else frame[name] for name in order}, frame.index)


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    kind = column.type
    if pt.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pt.is_map(kind):  # whose Arrow values are lists of pairs
        return column.to_pandas(maps_as_pydicts="strict")
    # an integer with nulls would become a float, which does not hold the digits of an identifier
    if pt.is_nested(kind) or (pt.is_integer(kind) and column.null_count):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    return column.to_pandas()
