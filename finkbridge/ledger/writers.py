"""Which writer schemas the messages of a topic's life have: a topic may bring only so many."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, exists, func, insert, literal, select

from finkbridge.ledger import schema as s
from finkbridge.ledger.store import Ledger
from finkbridge.values import LandedFile, TopicGeneration


def note_schemas(connection: Connection, generation_id: int, files: Iterable[LandedFile]) -> None:
    """Write down with which schemas messages were written that are in the lake now."""
    x = s.generation_schemas.c
    for schema_id in sorted(schemas_of(files)):
        known = exists().where(x.generation_id == generation_id, x.schema_id == schema_id)
        row = select(literal(generation_id), literal(schema_id)).where(~known)
        connection.execute(insert(s.generation_schemas).from_select(["generation_id", "schema_id"], row))


def read_schemas(ledger: Ledger, source: TopicGeneration) -> dict[str, int]:
    """Return the fingerprints of a topic's writer schemas that are in the lake, with their columns."""
    g, known, columns = s.generations.c, s.generation_schemas, s.schema_columns
    query = (
        select(known.c.schema_id, func.coalesce(columns.c.columns, 0))
        .join(s.generations)
        .outerjoin(columns, columns.c.schema_id == known.c.schema_id)
        .where(g.cluster == source.cluster, g.topic == source.topic, g.generation == source.generation)
    )
    with ledger.reading() as connection:
        return {schema_id: int(count) for schema_id, count in connection.execute(query)}


def schemas_of(files: Iterable[LandedFile]) -> set[str]:
    """Return the fingerprints of the writer schemas of archive files."""
    return {file.schema_id for file in files if file.table == "archive"}
