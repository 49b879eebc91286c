"""Tables as polars has them."""

from __future__ import annotations

from typing import cast

import polars as pl
import pyarrow as pa


def frame_of_table(table: pa.Table) -> pl.DataFrame:
    """Return a table as a DataFrame; polars shares what Arrow holds."""
    if not table.num_columns:
        return pl.DataFrame()
    return cast("pl.DataFrame", pl.from_arrow(table))
