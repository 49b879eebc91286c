"""What the assets are, before anything runs: names, descriptions, partitions, freshness.

kafka/<cluster>/<topics> -> raw_archive, deliveries, packets -> catalog
                                         deliveries -> deliveries_by_night
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from pipelines import metadata

POOL = "lake"
"""Has one place (dagster.yaml): one run at a time writes a lake."""

OWNERS = ["team:finkbridge"]
RAW_ARCHIVE = dg.AssetKey("raw_archive")
DELIVERIES = dg.AssetKey("deliveries")
PACKETS = dg.AssetKey("packets")
CATALOG = dg.AssetKey("catalog")
BY_NIGHT = dg.AssetKey("deliveries_by_night")
LAKE_KEYS = frozenset({RAW_ARCHIVE, DELIVERIES, PACKETS, CATALOG})
"""What the runs make that hold the pool."""

NIGHTS_NAME = "nights"
NIGHTS = dg.DynamicPartitionsDefinition(name=NIGHTS_NAME)
"""Observing nights (YYYY-MM-DD) that have rows, old or new. A drain adds the ones that it sees first."""

FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=96), warn_window=timedelta(hours=36))
"""Clouds make quiet nights: a warning after one and a half days, a failure when Fink's 4 days are over."""


def lake_specs(topics: Sequence[dg.AssetSpec]) -> list[dg.AssetSpec]:
    """Return what a drain of the topics makes."""
    deps = [topic.key for topic in topics]
    return [
        _lake_spec(
            RAW_ARCHIVE,
            deps,
            "avro",
            "Every message byte for byte, in standard Avro files that any Avro reader opens: "
            "`archive/<topic>/<day>/*.avro`. All tables can be rebuilt from it, with no broker.",
        ),
        _lake_spec(
            DELIVERIES,
            deps,
            "parquet",
            "One thin, flat row per Kafka message: identity, position, time, photometry, scores, and where "
            "its bytes are. `deliveries/<survey>/night=YYYYMMDD/*.parquet`; in SQL `deliveries`, and "
            "`alerts` with one row per alert.",
            metadata.deliveries_columns(),
        ),
        _lake_spec(
            PACKETS,
            deps,
            "parquet",
            "The whole alerts, nested as the survey sends them, without the cutouts. "
            "`packets/<survey>/night=YYYYMMDD/*.parquet`; in SQL `packets_ztf`, `packets_lsst` and "
            "`packets_other`.",
            metadata.packets_columns(),
        ),
    ]


def deliveries_by_night() -> dg.AssetSpec:
    """Return the nights of deliveries: never run; each drain reports the nights to which it added rows."""
    return dg.AssetSpec(
        BY_NIGHT,
        deps=[DELIVERIES],
        partitions_def=NIGHTS,
        group_name="lake",
        kinds={"parquet"},
        owners=OWNERS,
        tags={"grain": "night"},
        description="Deliveries per observing night. The drains report them, so there is nothing to "
        "materialize: a night is there when it has rows, and late alerts add to it.",
    )


def _lake_spec(
    key: dg.AssetKey,
    topics: Sequence[dg.AssetKey],
    kind: str,
    description: str,
    columns: dg.TableSchema | None = None,
) -> dg.AssetSpec:
    described: dict[str, Any] = {"dagster/column_schema": columns} if columns else {}
    return dg.AssetSpec(
        key,
        deps=topics,
        skippable=True,  # a run that finds nothing new materializes nothing
        group_name="lake",
        kinds={kind},
        owners=OWNERS,
        tags={"grain": "message"},
        freshness_policy=FRESH,
        description=description,
        metadata=described,
    )
