"""What the assets are, before anything runs: names, descriptions, partitions, freshness.

kafka/<cluster>/<topic> -> raw_archive, deliveries, packets -> catalog
                                        deliveries -> deliveries_by_night
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from finkbridge.settings import Settings
from pipelines import metadata
from pipelines.contents import drained_topics

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


def topic_specs(settings: Settings) -> list[dg.AssetSpec]:
    """Return the topics that are known without asking a broker: named in the settings, or drained before.

    A pattern's topics appear here once they were drained and the definitions are loaded again.
    """
    named = {(c, t) for c, its in settings.clusters.items() for t in its.topics if not set(t) & set("*?[")}
    return [_topic_spec(cluster, topic) for cluster, topic in sorted(named | drained_topics(settings))]


def topic_key(cluster: str, topic: str) -> dg.AssetKey:
    """Return the asset key of a topic."""
    return dg.AssetKey(["kafka", cluster, topic])


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


def _topic_spec(cluster: str, topic: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        topic_key(cluster, topic),
        group_name="kafka",
        kinds={"kafka"},
        owners=OWNERS,
        tags={"cluster": cluster},
        description=f"Topic `{topic}` of the Kafka cluster `{cluster}`. Each drain notes the lag it left.",
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
