"""Count alerts and deliveries per topic and night with polars.

python examples/counts.py [LAKE]
"""

from __future__ import annotations

import sys

import polars as pl

import finkbridge
from finkbridge.errors import FinkbridgeError


def main(lake: str) -> None:
    deliveries = finkbridge.scan("deliveries", lake)
    counts = (
        deliveries.group_by("survey", "topic", "night")
        .agg(
            deliveries=pl.len(), alerts=pl.col("source_id").n_unique(), objects=pl.col("object_id").n_unique()
        )
        .sort("survey", "topic", "night")
        .collect()
    )
    with pl.Config(tbl_rows=50, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(counts)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "lake")
    except FinkbridgeError as error:  # there is no lake, say
        sys.exit(f"counts.py: {error}")
