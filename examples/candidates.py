"""Find young, reliable ZTF candidates by score and colour with polars.

    python examples/candidates.py [LAKE]

An object is a candidate if its alerts are real (reliability), brighter than the template, of no known solar
system object, and few; g - r is its colour in the last night that saw it.
"""

from __future__ import annotations

import sys

import polars as pl

import finkbridge
from finkbridge.errors import FinkbridgeError


def main(lake: str) -> None:
    alerts = finkbridge.scan("deliveries", lake, survey="ztf").unique("source_id")
    good = alerts.filter(
        pl.col("reliability") > 0.7, pl.col("is_positive"), pl.col("sso_name").is_null(), pl.col("n_det") < 50
    )
    nightly = good.group_by("object_id", "night").agg(
        g=pl.col("mag").filter(pl.col("band") == "g").mean(),
        r=pl.col("mag").filter(pl.col("band") == "r").mean(),
        score=pl.col("snn_snia_vs_nonia").max(),
        n_det=pl.col("n_det").max(),
    )
    candidates = (
        nightly.with_columns(colour=pl.col("g") - pl.col("r"))
        .sort("night")
        .group_by("object_id")
        .last()
        .sort("score", descending=True, nulls_last=True)
        .select("object_id", "night", "n_det", "g", "r", "colour", "score")
        .head(15)
        .collect()
    )
    with pl.Config(tbl_rows=20, float_precision=2, tbl_hide_dataframe_shape=True):
        print(candidates)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "lake")
    except FinkbridgeError as error:  # there is no lake, say
        sys.exit(f"candidates.py: {error}")
