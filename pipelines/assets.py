"""The runs: what drains the topics, and what writes the catalog.

One run of `drain_topics` drains everything that is at the brokers at its start, of all topics and nights.
Archive and tables commit together or not at all, so they are not materialized one by one. A run that finds
nothing new materializes nothing. That nothing is lost or doubled is the ledger's doing, not Dagster's: runs
may be killed, repeated, and started side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from finkbridge import catalog, layout
from finkbridge.drain import drain
from finkbridge.ledger import coordinate
from finkbridge.report import DrainReport
from finkbridge.settings import load_settings
from finkbridge.values import UNDATED_NIGHT
from pipelines import checks, metadata
from pipelines.contents import TableContents, contents, open_ledger
from pipelines.failures import check_success, told_plainly
from pipelines.progress import Progress
from pipelines.runs import DRAIN_JOB
from pipelines.specs import (
    BY_NIGHT,
    CATALOG,
    DELIVERIES,
    NIGHTS_NAME,
    OWNERS,
    PACKETS,
    POOL,
    RAW_ARCHIVE,
    lake_specs,
)
from pipelines.topics import events

Tables = Mapping[str, TableContents]


class DrainConfig(dg.Config):
    """What a drain by hand may say; the schedule says nothing."""

    topics: list[str] = Field(
        [], description="Names and patterns such as fink_*_ztf. None: those of the settings."
    )
    max_messages: int | None = Field(
        None, description="Most messages to take, over all topics. Null: what the settings say."
    )


def drain_asset(topics: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
    """Return the assets that draining the topics makes."""

    @dg.multi_asset(name="drain_topics", specs=lake_specs(topics), check_specs=checks.CHECKS, pool=POOL)
    def drain_topics(
        context: dg.AssetExecutionContext, config: DrainConfig
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Drain what is at the brokers now. Archive and tables commit together or not at all."""
        with told_plainly():
            settings = load_settings(overrides={"drain.max_messages": config.max_messages}).settings
            report = drain(settings, config.topics, Progress(context.log))
            tables = contents(settings)
            nights = checks.nights_complete(settings)
        yield from _materializations(report, tables, settings.lake.absolute())
        for event in events(settings, report):
            context.log_event(event)
        _report_nights(context, report, tables)
        if quarantined := report.total("quarantined"):
            context.log.warning(f"{quarantined} messages are in quarantine: they could not be decoded")
        yield from checks.results(report)
        yield nights
        check_success(report)

    return drain_topics


@dg.asset(
    key=CATALOG,
    deps=[RAW_ARCHIVE, DELIVERIES, PACKETS],
    pool=POOL,
    group_name="lake",
    kinds={"duckdb"},
    owners=OWNERS,
    tags={"grain": "lake"},
    description="`catalog.duckdb`: views and macros over exactly the files that the ledger lists, for "
    "`duckdb -readonly` and `finkbridge sql`. Every drain publishes it; materialize it by hand to write it "
    "anew, as after the lake was moved.",
)
def lake_catalog(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Write the catalog anew; behind a drain only if the drain did not."""
    with told_plainly():
        settings = load_settings().settings
        with open_ledger(settings) as ledger, coordinate(ledger) as coordinator:
            if context.run.job_name != DRAIN_JOB or not coordinator.is_published():
                for problem in catalog.publish(coordinator, settings):
                    context.log.warning(problem)
            commit = ledger.last_commit()
        tables = contents(settings)
    file = settings.lake.absolute() / layout.CATALOG
    return dg.MaterializeResult(
        metadata={
            "file": dg.MetadataValue.path(file),
            "shell": f"duckdb -readonly {file}",
            "commit": commit,
            **{f"rows/{name}": table.rows for name, table in tables.items()},
            **{f"files/{name}": table.files for name, table in tables.items()},
            **{f"MB/{name}": table.megabytes for name, table in tables.items()},
        }
    )


def _materializations(
    report: DrainReport, tables: Tables, lake: Path
) -> Iterator[dg.MaterializeResult[None]]:
    """Yield what the run added to each asset; nothing where it added nothing."""
    if not report.total("messages"):
        return
    said = {
        **metadata.numbers(report),
        "commit": report.commit,
        "topics": metadata.topics_table(report.topics.values()),
        "nights": metadata.nights_table(report, tables["deliveries"].by_night),
    }
    archive = dg.MetadataValue.path(lake / "archive")
    yield dg.MaterializeResult(asset_key=RAW_ARCHIVE, metadata={**said, "folder": archive})
    for key in (DELIVERIES, PACKETS):
        table, folder = tables[key.path[0]], dg.MetadataValue.path(lake / key.path[0])
        size = {"dagster/row_count": table.rows, "files": table.files, "table_MB": table.megabytes}
        yield dg.MaterializeResult(asset_key=key, metadata={**said, **size, "folder": folder})


def _report_nights(context: dg.AssetExecutionContext, report: DrainReport, tables: Tables) -> None:
    """Report the nights that got rows, new ones as new partitions; rows without a night are in none."""
    in_lake = tables["deliveries"].by_night
    added = {night: rows for night, rows in sorted(metadata.nights(report).items()) if night != UNDATED_NIGHT}
    names = [metadata.night_name(night) for night in added]
    context.instance.add_dynamic_partitions(NIGHTS_NAME, names)
    for partition, (night, rows) in zip(names, added.items(), strict=True):
        counts = {"rows": rows, "dagster/partition_row_count": in_lake[night]}
        context.log_event(dg.AssetMaterialization(BY_NIGHT, partition=partition, metadata=counts))
