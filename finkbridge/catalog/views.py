"""The SQL of the catalog's views and macros, over exactly the files that the ledger lists.

A view's files are relative to the DuckDB variable ``lake``, or to the folder where the catalog was published
if it is not set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from finkbridge import surveys, tables
from finkbridge.avro import predictions
from finkbridge.avro.schemas import fingerprint_of
from finkbridge.catalog.sql import literal, quoted
from finkbridge.kinds import clashing_columns
from finkbridge.lakefiles import FileGroup, file_groups
from finkbridge.ledger import Ledger

ALERT_KEYS = ("survey", "source_id", "object_id", "night", "ra", "dec", "mjd", "healpix_29")
"""What an alert is grouped by: filters on these reach the files below the aggregate."""

_DUCKDB_TYPES = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", "UTC"): "TIMESTAMPTZ",
}

_PREDICTION_FIELDS = (
    pa.field("source_id", pa.int64()),
    pa.field("model", pa.string()),
    pa.field("prediction", pa.float64()),
    pa.field("result", pa.string()),
)


class Definition(NamedTuple):
    """How a view or macro is made: each by itself, so that one that DuckDB refuses costs no other."""

    name: str
    sql: str
    empty: str
    """The same without any file, for want of better."""


def definitions(ledger: Ledger) -> Iterator[Definition]:
    """Yield all views and macros over the lake's data files, in an order in which they can be made."""
    root = str(ledger.lake.resolve())
    packets = file_groups(ledger, "packets")
    yield _view("deliveries", deliveries_select(ledger), _deliveries([], root))
    yield _view("alerts", _alerts(), _alerts())
    for survey in surveys.SURVEYS:
        mine = [group for group in packets if group.survey == survey]
        yield _view(f"packets_{survey}", _packets(mine, root), _packets([], root))
    yield _view("predictions", _predictions(packets, root), _predictions([], root))
    points, none = _points(packets, root), _points([], root)
    macro = "CREATE MACRO lightcurve(id) AS TABLE "
    yield Definition("lightcurve", macro + _lightcurve(points, "id"), macro + _lightcurve(none, "id"))


def deliveries_select(ledger: Ledger) -> str:
    """Return the SELECT of the view ``deliveries``."""
    return _deliveries(file_groups(ledger, "deliveries"), str(ledger.lake.resolve()))


def _view(name: str, select: str, empty: str) -> Definition:
    return Definition(name, f"CREATE VIEW {name} AS {select}", f"CREATE VIEW {name} AS {empty}")


def _deliveries(groups: Sequence[FileGroup], root: str) -> str:
    selects = [_nothing(tables.delivery_fields().values())]
    selects += [f"SELECT *, {literal(g.survey)} AS survey FROM {_read(g, root)}" for g in groups]
    return " UNION ALL BY NAME ".join(selects)


def _alerts() -> str:
    keys = ", ".join(ALERT_KEYS)
    per_delivery = {*tables.SOURCE_SCHEMA.names, *tables.ARCHIVE_SCHEMA.names, *ALERT_KEYS}
    rest = [name for name in tables.delivery_fields() if name not in per_delivery]
    values = ", ".join(f"any_value({quoted(name)}) AS {quoted(name)}" for name in rest)
    return (
        f"SELECT {keys}, list_sort(list(DISTINCT topic)) AS topics, count(*) AS deliveries, "
        f"min(received) AS received, {values} FROM deliveries WHERE source_id IS NOT NULL GROUP BY {keys}"
    )


def _packets(groups: Sequence[FileGroup], root: str) -> str:
    # DuckDB takes names that differ in case only for one
    clashing = clashing_columns((group.schema for group in groups), str.lower)
    selects = [_nothing([*tables.KEY_SCHEMA, tables.EXTRA_SCHEMA.field("night")])]
    for group in groups:
        mine = [name for name in group.schema.names if name.lower() in clashing]
        texts = ", ".join(f"CAST(to_json({quoted(n)}) AS VARCHAR) AS {quoted(n)}" for n in mine)
        selects.append(f"SELECT * {f'REPLACE ({texts})' if texts else ''} FROM {_read(group, root)}")
    return " UNION ALL BY NAME ".join(selects)


def _predictions(groups: Sequence[FileGroup], root: str) -> str:
    """Return of each topic, alert and model the newest prediction, by Kafka's time."""
    names, of_p = (", ".join(f"{p}{f.name}" for f in _PREDICTION_FIELDS) for p in ("", "p."))
    mine = [group for group in groups if _has_predictions(group)]
    selects = [_nothing([*tables.KEY_SCHEMA, *_PREDICTION_FIELDS])]
    selects += [f"SELECT {', '.join(tables.KEY_SCHEMA.names)}, {names} FROM {_read(g, root)}" for g in mine]
    places = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")
    same = " AND ".join(f"d.{name} = p._{name}" for name in places)
    return (
        f"SELECT cluster, topic, {of_p}, received, kafka_partition, kafka_offset "
        f"FROM ({' UNION ALL '.join(selects)}) AS p JOIN deliveries AS d ON {same} "
        f"WHERE d.survey = 'other' AND d.schema_id = {literal(fingerprint_of(predictions.SCHEMA))} "
        "QUALIFY row_number() OVER (PARTITION BY cluster, topic, p.source_id, model "
        "ORDER BY received DESC NULLS LAST, generation DESC, kafka_partition DESC, kafka_offset DESC) = 1"
    )


def _has_predictions(group: FileGroup) -> bool:
    """Whether files may have predictions: a stranger's schema can have the same columns."""
    return group.survey == "other" and all(
        field.name in group.schema.names and group.schema.field(field.name).type == field.type
        for field in _PREDICTION_FIELDS
    )


def _nothing(fields: Iterable[pa.Field]) -> str:
    """Return a SELECT of no rows, so that a view has its columns whatever files there are."""
    columns = ", ".join(f"CAST(NULL AS {_DUCKDB_TYPES[f.type]}) AS {quoted(f.name)}" for f in fields)
    return f"SELECT {columns} WHERE false"


def _points(packets: Sequence[FileGroup], root: str) -> str:
    columns = ", ".join(f"CAST(NULL AS {t}) AS {n}" for n, t in surveys.LIGHTCURVE_TYPES.items())
    selects = [f"SELECT {columns} WHERE false"]
    selects += [
        f"({surveys.lightcurve_sql(g.survey, g.schema, _read(g, root))})"
        for g in packets
        if g.survey != "other"
    ]
    return " UNION ALL BY NAME ".join(selects)


def _lightcurve(points: str, object_id: str) -> str:
    """Return one row a point: an alert's own detection before the same one in a later alert's history."""
    alert_first = "PARTITION BY survey, point_key ORDER BY kind = 'alert' DESC, mjd"
    ranked = f"row_number() OVER ({alert_first}) AS rank_of_point"
    return (
        f"SELECT * EXCLUDE (point_key, rank_of_point) FROM (SELECT *, {ranked} FROM ({points}) "
        f"WHERE object_id = {object_id}) WHERE rank_of_point = 1 ORDER BY mjd"
    )


def _read(group: FileGroup, root: str) -> str:
    files = ", ".join(literal(path) for path in group.paths)
    return (
        f"read_parquet(list_transform([{files}], "
        f"lambda f: coalesce(getvariable('lake'), {literal(root)}) || '/' || f), "
        "hive_partitioning = true, hive_types = {'night': INTEGER})"
    )
