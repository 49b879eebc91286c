"""What else must hold in the ledger: files, merges, plans, quarantine and sums agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select, union_all

from finkbridge.layout import DataPath
from finkbridge.ledger import schema as s
from finkbridge.verify.findings import RESTORE_LEDGER, Finding
from finkbridge.verify.offsets import BATCH_ROWS

_Findings = Iterator[Finding]


def check_accounts(connection: Connection) -> _Findings:
    """Yield every row of the ledger that contradicts another."""
    for check in (
        _plans, _planned_offsets, _segment_files, _quarantine, _generations, _merges, _lives, _schemas,
        _numbers, _totals, _paths,
    ):  # fmt: skip
        yield from check(connection)


def _found(where: str, problem: str) -> Finding:
    return Finding("counts", where, problem, RESTORE_LEDGER)


def _plans(connection: Connection) -> _Findings:
    p = s.plans.c
    has_segments = select(s.segments.c.id).where(s.segments.c.plan == p.number).exists()
    strange = or_(
        (p.state == "committed") & ~has_segments,
        (p.state != "committed") & has_segments,
        p.state.not_in(("pending", "committed", "abandoned")),
    )
    for row in connection.execute(select(p.number, p.state, has_segments.label("has")).where(strange)):
        has = "segments" if row.has else "no segment"
        yield _found(f"plan {row.number}", f"is {row.state!r} and has {has}")


def _planned_offsets(connection: Connection) -> _Findings:
    r, x = s.plan_ranges.c, s.segment_ranges.c
    planned = select(r.plan, func.sum(r.end_offset - r.start_offset).label("n")).group_by(r.plan).subquery()
    landed = (
        select(s.segments.c.plan, func.sum(x.end_offset - x.start_offset).label("n"))
        .select_from(s.segments.join(s.segment_ranges))
        .group_by(s.segments.c.plan)
        .subquery()
    )
    query = select(landed.c.plan, landed.c.n.label("landed"), planned.c.n.label("planned")).select_from(
        landed.outerjoin(planned, planned.c.plan == landed.c.plan)
    )
    for row in connection.execute(query.where(landed.c.n != func.coalesce(planned.c.n, 0))):
        yield _found(f"plan {row.plan}", f"{row.planned or 0} offsets were planned and {row.landed} landed")


def _segment_files(connection: Connection) -> _Findings:
    f, c = s.files.c, s.segments.c
    sums = [_rows_of(table).label(table) for table in ("archive", "deliveries", "packets", "quarantine")]
    query = (
        select(c.plan, c.part, c.rows.label("due"), c.quarantined, *sums)
        .select_from(s.segments.outerjoin(s.files, f.segment_id == c.id))
        .group_by(c.id, c.plan, c.part, c.rows, c.quarantined)
        .having(or_(*(total != c.rows for total in map(_rows_of, ("archive", "deliveries", "packets"))),
                    _rows_of("quarantine") != c.quarantined))
    )  # fmt: skip
    for row in connection.execute(query):
        has = ", ".join(f"{name} {getattr(row, name)}" for name in ("archive", "deliveries", "packets"))
        yield _found(
            f"plan {row.plan} part {row.part}",
            f"{row.due} rows and {row.quarantined} quarantined are due, and its files have {has}, "
            f"quarantine {row.quarantine}",
        )


def _rows_of(table: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((s.files.c.table == table, s.files.c.rows), else_=0)), 0)


def _quarantine(connection: Connection) -> _Findings:
    q, c, f = s.quarantine.c, s.segments.c, s.files.c
    counted = (
        select(c.plan, c.part, c.quarantined, func.count(q.id).label("listed"))
        .select_from(s.segments.outerjoin(s.quarantine, q.segment_id == c.id))
        .group_by(c.id, c.plan, c.part, c.quarantined)
        .having(func.count(q.id) != c.quarantined)
    )
    for row in connection.execute(counted):
        problem = f"{row.quarantined} messages are quarantined and {row.listed} of them are listed"
        yield _found(f"plan {row.plan} part {row.part}", problem)
    is_file = select(f.id).where(f.path == q.path, f.table == "quarantine").exists()
    for path in connection.scalars(select(q.path).where(~is_file).distinct()):
        yield _found(path, "has quarantined messages by the ledger, which does not list it as a file")


def _generations(connection: Connection) -> _Findings:
    g, c = s.generations.c, s.segments.c
    messages, size = (func.coalesce(func.sum(column), 0) for column in (c.messages, c.bytes))
    query = (
        select(g.topic, g.generation, g.messages, g.bytes, messages.label("n"), size.label("size"))
        .select_from(s.generations.outerjoin(s.segments))
        .group_by(g.id, g.topic, g.generation, g.messages, g.bytes)
        .having(or_(messages != g.messages, size != g.bytes))
    )
    for row in connection.execute(query):
        yield _found(
            f"{row.topic}, generation {row.generation}",
            f"says {row.messages} messages of {row.bytes} bytes; its segments have {row.n} of {row.size}",
        )


def _merges(connection: Connection) -> _Findings:
    """Each merge gives each table and night as many rows as it takes."""
    f = s.files.c
    gains = select(f.added.label("commit"), f.table, f.survey, f.night, f.rows).where(f.segment_id.is_(None))
    losses = select(f.removed, f.table, f.survey, f.night, -f.rows).where(f.removed.is_not(None))
    c = union_all(gains, losses).subquery().c
    change = func.sum(c.rows)
    key = (c.commit, c.table, c.survey, c.night)
    for row in connection.execute(select(*key, change.label("n")).group_by(*key).having(change != 0)):
        what = f"{row.table} of {row.survey}, night {row.night}"
        yield _found(f"commit {row.commit}", f"merging changed the rows of {what} by {row.n:+d}")


def _lives(connection: Connection) -> _Findings:
    f, kind = s.files.c, s.commits.c.kind
    early = or_(f.removed < f.added, f.deleted_at.is_not(None) & f.removed.is_(None), f.rows < 0)
    for path in connection.scalars(select(f.path).where(early)):
        yield _found(path, "was removed before it was added, deleted and not removed, or has a size below 0")
    by_merge = select(f.path).join(s.commits, f.removed == s.commits.c.number).where(kind != "merge")
    for path in connection.scalars(by_merge):
        yield _found(path, "was removed by a commit that is no merge")


def _schemas(connection: Connection) -> _Findings:
    f, known = s.files.c, s.schemas.c
    kind = case((f.table == "archive", "avro"), else_="arrow")
    is_known = select(known.schema_id).where(known.schema_id == f.schema_id, known.kind == kind).exists()
    unknown = select(f.path).where(f.table != "quarantine", f.removed.is_(None), ~is_known)
    for path in connection.scalars(unknown):
        yield _found(path, "its schema is not in the ledger")


def _numbers(connection: Connection) -> _Findings:
    """No number that was given out may be given out again."""
    last = {row.name: row.last for row in connection.execute(select(s.numbers))}
    epoch = connection.scalar(select(s.meta.c.value).where(s.meta.c.key == "epoch"))
    due: list[tuple[str, Any, Any]] = [
        ("plan", last.get("plan"), connection.scalar(select(func.max(s.plans.c.number)))),
        ("commit", last.get("commit"), connection.scalar(select(func.max(s.commits.c.number)))),
        ("epoch", epoch, connection.scalar(select(func.max(s.commits.c.epoch)))),
    ]
    for name, given, used in due:
        if given is None or given < (used or 0):
            yield _found(f"number of {name}s", f"the last one given is {given}, and {used} is in use")


def _totals(connection: Connection) -> _Findings:
    f = s.files.c
    due = connection.scalar(select(func.coalesce(func.sum(s.segments.c.rows), 0)))
    for table in ("archive", "deliveries", "packets"):
        alive = select(func.coalesce(func.sum(f.rows), 0)).where(f.table == table, f.removed.is_(None))
        rows = connection.scalar(alive)
        if rows != due:
            yield _found(table, f"its files have {rows} rows, and {due} have landed")


def _paths(connection: Connection) -> _Findings:
    """Each path says of its file what the row says."""
    last = connection.scalar(select(s.numbers.c.last).where(s.numbers.c.name == "plan")) or 0
    for row in connection.execution_options(yield_per=BATCH_ROWS).execute(_files_with_source()):
        if problem := _path_problem(row, last):
            yield _found(row.path, problem)


def _files_with_source() -> Select[Any]:
    f, c, g = s.files.c, s.segments.c, s.generations.c
    return select(
        f.path, f.table, f.survey, f.night, f.segment_id, c.plan, c.part, g.topic, g.generation,
    ).select_from(s.files.outerjoin(s.segments, f.segment_id == c.id).outerjoin(s.generations))  # fmt: skip


def _path_problem(row: Row[Any], last: int) -> str | None:
    try:
        path = DataPath.parse(row.path)
    except ValueError as error:
        return str(error)
    if path.table != row.table or path.night != row.night or path.survey not in ("", row.survey):
        return f"its row says table {row.table}, survey {row.survey!r} and night {row.night}"
    if (path.segment is None) != (row.segment_id is None):
        return "is of a segment by its name or by its row, and not by both"
    if path.segment is None:
        return None if (path.merged or 0) <= last else f"its number is above the last one given, {last}"
    named = (path.segment.plan, path.segment.part, path.segment.generation)
    if named != (row.plan, row.part, row.generation) or path.topic not in (None, row.topic):
        return f"its row says plan {row.plan} part {row.part} of {row.topic}, generation {row.generation}"
    return None
