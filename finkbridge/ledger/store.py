"""The ledger, and all that is read from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, LargeBinary, Row, Select, cast, func, inspect, select

from finkbridge.errors import (
    LakeAccessError,
    LakeError,
    LakeVersionError,
)
from finkbridge.ledger import identity
from finkbridge.ledger import schema as s
from finkbridge.ledger.database import (
    RESTORE,
    RESTORE_DATABASE,
    make_folder,
    no_lake,
    open_postgresql,
    open_sqlite,
    translated,
)
from finkbridge.values import OffsetRange, SegmentPlan, TopicGeneration

NEEDED = frozenset(table.name for table in s.metadata.sorted_tables if table is not s.rebuilt)
"""Tables that every ledger has: one without is damaged, and not to be made anew as if nothing were in it."""
RUNS_AT_ONCE = 1_000
"""Of which the reports are in memory."""


class LedgerPartition(NamedTuple):
    """One partition as the ledger knows it."""

    partition: int
    first_offset: int
    next_offset: int
    last_offset: int | None
    last_hash: str | None
    leader_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Crowd:
    """Small files of one night, table, schema and size class: too many of them."""

    table: str
    survey: str
    files: Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class KnownGeneration:
    """The newest generation of a topic, with Kafka's id of it where the broker gave one."""

    row_id: int
    source: TopicGeneration
    topic_id: str | None


class Ledger:
    """What has landed. Reading only: writing needs the lock, see `finkbridge.ledger.coordinate`.

    Parameters
    ----------
    lake
        Folder of the lake.
    url
        SQLAlchemy URL of a PostgreSQL ledger; None for SQLite in the lake.
    create
        Make the lake and its ledger where there is none; otherwise a missing one raises NoLakeError.
    """

    def __init__(self, lake: Path, url: str | None = None, *, create: bool = False) -> None:
        self.lake = lake
        if create and url is None:
            make_folder(lake)
        self.engine = open_sqlite(lake, create=create) if url is None else open_postgresql(url)
        try:
            with translated(lake):
                if create:
                    self._create()
                else:
                    self._check_version()
        except LakeError:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        """Whether the ledger is a file in the lake."""
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Give back the database's connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection in a transaction that only reads, and sees the ledger as of one moment."""
        with translated(self.lake), self.engine.connect() as connection:
            if not self.is_sqlite:  # whose transactions do so anyway
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    def generations(self) -> dict[tuple[str, str], KnownGeneration]:
        """Newest generation of each (cluster, topic)."""
        g = s.generations.c
        with self.reading() as connection:
            rows = connection.execute(select(s.generations).order_by(g.cluster, g.topic, g.generation))
            return {
                (r.cluster, r.topic): KnownGeneration(
                    r.id, TopicGeneration(r.cluster, r.topic, r.generation), r.topic_id
                )
                for r in rows
            }

    def generations_of(self, source: TopicGeneration) -> list[KnownGeneration]:
        """Return a generation of a topic and those before it, the newest first."""
        g = s.generations.c
        query = select(g.id, g.generation, g.topic_id).order_by(g.generation.desc())
        mine = (g.cluster == source.cluster, g.topic == source.topic, g.generation <= source.generation)
        with self.reading() as connection:
            return [
                KnownGeneration(r.id, TopicGeneration(source.cluster, source.topic, r.generation), r.topic_id)
                for r in connection.execute(query.where(*mine))
            ]

    def partitions(self, row_id: int) -> dict[int, LedgerPartition]:
        """Partitions of a generation, by number."""
        p = s.partitions.c
        query = select(p.partition, p.first_offset, p.next_offset, p.last_offset, p.last_hash, p.leader_epoch)
        with self.reading() as connection:
            rows = connection.execute(query.where(p.generation_id == row_id).order_by(p.partition))
            return {r.partition: LedgerPartition(*r) for r in rows}

    def mean_message_bytes(self) -> dict[int, float]:
        """Mean bytes of a message's value, by generation's row id, over all committed segments."""
        g = s.generations.c
        with self.reading() as connection:
            rows = connection.execute(select(g.id, g.bytes, g.messages).where(g.messages > 0))
            return {row.id: row.bytes / row.messages for row in rows}

    def pending_plans(self) -> list[SegmentPlan]:
        """Plans that a run wrote and did not finish, oldest first."""
        return self._plans("pending")

    def lost_plans(self) -> list[SegmentPlan]:
        """Plans that are given up, as the broker lost their messages, and of which files may be left."""
        return self._plans("lost")

    def _plans(self, state: str) -> list[SegmentPlan]:
        query = (
            select(s.plans, s.generations.c.cluster, s.generations.c.topic, s.generations.c.generation)
            .join(s.generations)
            .where(s.plans.c.state == state)
            .order_by(s.plans.c.number)
        )
        with self.reading() as connection:
            return [_plan(connection, row) for row in connection.execute(query).all()]

    def last_commit(self) -> int:
        """Return the number of the newest commit; 0 for an empty lake."""
        with self.reading() as connection:
            return connection.scalar(select(func.max(s.commits.c.number))) or 0

    def alive_files(self, *tables: str) -> Sequence[Row[Any]]:
        """Rows of the data files in the lake, in order of commit."""
        f = s.files.c
        query = select(s.files).where(f.removed.is_(None)).order_by(f.added, f.id)
        with self.reading() as connection:
            return connection.execute(query.where(f.table.in_(tables)) if tables else query).all()

    def crowds(self, most: int) -> list[Crowd]:
        """Return the nights that have more than `most` small files of one table, schema and size class."""
        f = s.files.c
        key = (f.table, f.survey, f.night, f.schema_id, s.SIZE_CLASS)
        query = select(*key).where(s.IS_SMALL).group_by(*key).having(func.count() > most)
        with self.reading() as connection:
            crowded = connection.execute(query).all()
            return [
                Crowd(
                    row.table,
                    row.survey,
                    connection.execute(
                        select(s.files).where(s.IS_SMALL, *(a == b for a, b in zip(key, row, strict=True)))
                    ).all(),
                )
                for row in crowded
            ]

    def schema_contents(self, kind: str) -> dict[str, bytes]:
        """Content of each schema of a kind (``avro`` or ``arrow``), by its fingerprint."""
        query = select(s.schemas.c.schema_id, s.schemas.c.content).where(s.schemas.c.kind == kind)
        with self.reading() as connection:
            return {row.schema_id: row.content for row in connection.execute(query)}

    def last_run(self) -> dict[str, Any] | None:
        """Newest run of drain or follow, with its summary; None if there was none.

        A summary that is damaged is empty: it is a report, and stops nobody.
        """
        with self.reading() as connection:
            row = connection.execute(self._runs().order_by(s.runs.c.id.desc()).limit(1)).first()
        return None if row is None else {**row._asdict(), "summary": _report(row.summary) or {}}

    def damaged_reports(self) -> list[int]:
        """Return the runs whose summaries nobody can read; a service has half a million in a month."""
        with self.reading() as connection:
            runs = connection.execution_options(yield_per=RUNS_AT_ONCE).execute(self._runs())
            return [row.id for row in runs if _report(row.summary) is None]

    def _runs(self) -> Select[Any]:
        """Read runs, with summaries as bytes where damaged text could not even be fetched."""
        columns = [column for column in s.runs.c if column is not s.runs.c.summary]
        summary = cast(s.runs.c.summary, LargeBinary) if self.is_sqlite else s.runs.c.summary
        return select(*columns, summary.label("summary"))

    def _create(self) -> None:
        if self._tables():
            self._check_version()  # first: a newer lake must not get tables that it has no more
        make_folder(self.lake)
        with self.engine.begin() as connection:
            s.metadata.create_all(connection)
            if connection.scalar(select(func.count()).select_from(s.meta)) == 0:
                start = {"version": s.VERSION, "epoch": 0, "published": 0}
                facts = [{"key": k, "value": v} for k, v in start.items()]
                connection.execute(s.meta.insert(), facts)
                connection.execute(s.numbers.insert(), [{"name": n, "last": 0} for n in ("plan", "commit")])

    def _check_version(self) -> None:
        there = self._tables()
        if not there:
            raise no_lake(self.lake)
        if s.meta.name in there:
            with self.engine.connect() as connection:
                version = connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "version"))
            if version is None or version > s.VERSION:
                raise LakeVersionError(
                    f"the lake {self.lake} was made by a newer finkbridge (ledger version {version}, "
                    f"this one knows {s.VERSION}): upgrade finkbridge"
                )
        if lost := NEEDED - there:
            raise LakeAccessError(
                f"the ledger of {self.lake} has lost its table {', '.join(sorted(lost))}: "
                f"{RESTORE if self.is_sqlite else RESTORE_DATABASE}"
            )
        if not self.is_sqlite:
            with self.engine.connect() as connection:
                identity.refuse_other(connection, self.lake)

    def _tables(self) -> frozenset[str]:
        """Return which of the ledger's tables are there."""
        return NEEDED.intersection(inspect(self.engine).get_table_names())


def _report(text: bytes | str) -> dict[str, Any] | None:
    """Return the summary of a run; None where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("messages", 0), int):
        return None
    problems = found.get("problems", [])
    is_list = isinstance(problems, list) and all(isinstance(problem, str) for problem in problems)
    return found if is_list else None


def _plan(connection: Connection, row: Row[Any]) -> SegmentPlan:
    r = s.plan_ranges.c
    found = connection.execute(
        select(r.partition, r.start_offset, r.end_offset).where(r.plan == row.number).order_by(r.position)
    )
    source = TopicGeneration(row.cluster, row.topic, row.generation)
    return SegmentPlan(row.number, source, tuple(OffsetRange(*x) for x in found), row.byte_limit)
