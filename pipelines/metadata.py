"""What a run and a table say of themselves in the UI: numbers that plot, tables, column schemas."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from finkbridge import surveys
from finkbridge.nights import Verdict
from finkbridge.report import DrainReport, TopicReport
from finkbridge.tables import ARCHIVE_SCHEMA, KEY_SCHEMA, SOURCE_SCHEMA
from finkbridge.values import UNDATED_NIGHT

Metadata = dict[str, Any]


def numbers(report: DrainReport) -> Metadata:
    """Return flat numbers of a run: the UI plots each of them over time."""
    messages = report.total("messages")
    rows = Counter[str]()
    for topic in report.topics.values():
        rows[topic.topic] += topic.rows
    return {
        "rows": report.total("rows"),
        "messages": messages,
        "MB": round(report.total("bytes") / 1e6, 3),
        "lag": report.total("lag"),
        "seconds": round(report.seconds, 3),
        "messages_per_second": round(messages / report.seconds, 1) if report.seconds else 0.0,
        "quarantined": report.total("quarantined"),
        "holes": report.total("holes"),
        "expired": report.total("expired"),
        **{f"rows/{topic}": count for topic, count in sorted(rows.items())},
    }


def topics_table(topics: Iterable[TopicReport]) -> dg.TableMetadataValue:
    """Return one line a topic, with what became of its planned offsets."""
    counts = ("rows", "lag", "quarantined", "holes", "expired", "planned")
    return _table(
        {
            "topic": topic.topic,
            "cluster": topic.cluster,
            **{name: getattr(topic, name) for name in counts},
            "MB": round(topic.bytes / 1e6, 3),
        }
        for topic in topics
    )


def nights_table(report: DrainReport, in_lake: Mapping[int, int]) -> dg.TableMetadataValue:
    """Return one line an observing night: rows that the run added, and rows that the lake has now."""
    return _table(
        {"night": night_name(night), "rows added": rows, "rows in the lake": in_lake.get(night, rows)}
        for night, rows in sorted(nights(report).items())
    )


def certificates_table(verdicts: Sequence[Verdict]) -> dg.TableMetadataValue:
    """Return one line a survey's night: whether it is complete, and why not; the newest on top."""
    return _table(
        {
            "night": night_name(verdict.night.night),
            "survey": verdict.night.survey,
            "rows": verdict.rows,
            "quarantined": verdict.quarantined,
            "gaps": verdict.gaps,
            "complete": verdict.complete,
            "why": verdict.why or "",
        }
        for verdict in reversed(verdicts)
    )


def nights(report: DrainReport) -> Counter[int]:
    """Return the rows that a run added to each observing night."""
    added = Counter[int]()
    for topic in report.topics.values():
        added.update(topic.nights)
    return added


def night_name(night: int) -> str:
    """Return a night (YYYYMMDD) as ``YYYY-MM-DD``."""
    text = f"{night:08d}"
    return "undated" if night == UNDATED_NIGHT else f"{text[:4]}-{text[4:6]}-{text[6:]}"


def deliveries_columns() -> dg.TableSchema:
    """Return the columns of ``deliveries`` as its view shows them, with units in the descriptions."""
    common = list(surveys.COMMON_SCHEMA)
    columns = [_column(field) for field in [*common[:2], *SOURCE_SCHEMA, *common[2:], *ARCHIVE_SCHEMA]]
    columns += [
        dg.TableColumn("survey", "string", "Survey: ztf, lsst, or other for any other Avro"),
        dg.TableColumn("night", "int32", "Observing night YYYYMMDD, as the survey counts it"),
        *_own_columns(),
    ]
    once = dg.TableConstraints(other=["One row per Kafka message"])
    return dg.TableSchema(columns, constraints=once)


def packets_columns() -> dg.TableSchema:
    """Return the columns that every alert of ``packets`` has before its own."""
    own = ["After these columns: the alert's own, as its Avro schema has them, without the cutouts"]
    return dg.TableSchema(
        [_column(field) for field in KEY_SCHEMA],
        constraints=dg.TableConstraints(other=["One row per Kafka message", *own]),
    )


def _own_columns() -> Iterator[dg.TableColumn]:
    """Yield the surveys' own columns, each named once with the surveys that have it."""
    owners: dict[str, list[str]] = {}
    fields: dict[str, pa.Field] = {}
    for survey in surveys.SURVEYS:
        for field in surveys.own_schema(survey):
            owners.setdefault(field.name, []).append(survey.upper())
            fields.setdefault(field.name, field)
    for name, field in fields.items():
        yield _column(field, f" ({' and '.join(owners[name])} only)")


def _column(field: pa.Field, note: str = "") -> dg.TableColumn:
    said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f" [{said['unit']}]" if said.get("unit") else ""
    return dg.TableColumn(field.name, str(field.type), f"{said.get('description', '')}{unit}{note}")


def _table(records: Iterable[Mapping[str, Any]]) -> dg.TableMetadataValue:
    found = [dg.TableRecord(record) for record in records]
    nothing = dg.TableSchema([])  # columns are inferred from the first record, if there is one
    return dg.MetadataValue.table(found, schema=None if found else nothing)
