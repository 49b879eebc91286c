"""What else must hold in the ledger: files, merges, plans, quarantine and sums agree with each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select, union_all

from finkbridge import layout
from finkbridge.layout import DataPath, SegmentName
from finkbridge.ledger import schema as s
from finkbridge.verify.findings import RESTORE_LEDGER, Finding
from finkbridge.verify.offsets import BATCH_ROWS

_Findings = Iterator[Finding]

REPLACING = ("merge", "rebuild")
"""Kinds of commits that replace files by others with the same rows."""


def check_accounts(connection: Connection) -> _Findings:
    """Yield every row of the ledger that contradicts another."""
    for check in (
        _plans, _planned_offsets, _owners, _segment_files, _quarantine, _generations, _merges, _lives,
        _schemas, _numbers, _totals, _paths,
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
        p.state.not_in(("pending", "committed", "abandoned", "lost", "left")),
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


def _owners(connection: Connection) -> _Findings:
    c, r = s.segments.c, s.segment_ranges.c
    strange = select(c.plan, c.part).select_from(s.segment_ranges.join(s.segments))
    for row in connection.execute(strange.where(r.generation_id != c.generation_id).distinct()):
        yield _found(f"plan {row.plan} part {row.part}", "has a range that is of another topic")


def _segment_files(connection: Connection) -> _Findings:
    f, c = s.files.c, s.segments.c
    listed = select(func.count()).where(s.quarantine.c.segment_id == c.id).scalar_subquery()
    query = (
        select(c.plan, c.part, c.rows.label("due"), listed.label("bad"), *map(_rows_of, layout.DATA_FOLDERS))
        .select_from(s.segments.outerjoin(s.files, f.segment_id == c.id))
        .group_by(c.id, c.plan, c.part, c.rows)
    )
    for row in connection.execution_options(yield_per=BATCH_ROWS).execute(query):
        has = {name: getattr(row, name) for name in layout.DATA_FOLDERS}
        due = dict.fromkeys(layout.DATA_FOLDERS, row.due) | {"quarantine": row.bad}
        if has != due:
            told = ", ".join(f"{name} {has[name]} of {due[name]}" for name in has if has[name] != due[name])
            yield _found(f"plan {row.plan} part {row.part}", f"its files have other rows than due: {told}")


def _rows_of(table: str) -> ColumnElement[int]:
    rows = case((s.files.c.table == table, s.files.c.rows), else_=0)
    return func.coalesce(func.sum(rows), 0).label(table)


def _quarantine(connection: Connection) -> _Findings:
    q, c, f = s.quarantine.c, s.segments.c, s.files.c
    counted = (
        select(c.plan, c.part, c.quarantined, func.count(q.id).label("listed"))
        .select_from(s.segments.outerjoin(s.quarantine, (q.segment_id == c.id) & (q.state != "landed")))
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
    """Each commit that replaces files keeps the rows of each table, and a merge those of each night."""
    f, kind = s.files.c, s.commits.c.kind
    night = case((kind == "merge", f.night), else_=None).label("night")
    survey = case((kind == "merge", f.survey), else_="all surveys").label("survey")
    what = (s.commits.c.number, f.table, survey, night)
    gains = select(*what, f.rows).join(s.commits, f.added == s.commits.c.number)
    losses = select(*what, -f.rows).join(s.commits, f.removed == s.commits.c.number)
    c = union_all(gains.where(kind.in_(REPLACING)), losses).subquery().c
    change = func.sum(c.rows)
    key = (c.number, c.table, c.survey, c.night)
    for row in connection.execute(select(*key, change.label("n")).group_by(*key).having(change != 0)):
        where = f"{row.table} of {row.survey}" + (f", night {row.night}" if row.night is not None else "")
        problem = f"changed the rows of {where} by {int(row.n):+d} in replacing files"
        yield _found(f"commit {row.number}", problem)  # PostgreSQL sums to decimals


def _lives(connection: Connection) -> _Findings:
    f, kind = s.files.c, s.commits.c.kind
    early = or_(f.removed < f.added, f.deleted_at.is_not(None) & f.removed.is_(None), f.rows < 0)
    for path in connection.scalars(select(f.path).where(early)):
        yield _found(path, "was removed before it was added, deleted and not removed, or has a size below 0")
    removed = select(f.path).join(s.commits, f.removed == s.commits.c.number)
    for path in connection.scalars(removed.where(kind.not_in(REPLACING))):
        yield _found(path, "was removed by a commit that replaces no files")


def _schemas(connection: Connection) -> _Findings:
    f, known = s.files.c, s.schemas.c
    kind = case((f.table == "archive", "avro"), else_="arrow")
    is_known = select(known.schema_id).where(known.schema_id == f.schema_id, known.kind == kind).exists()
    unknown = select(f.path).where(f.table != "quarantine", ~is_known)
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
    columns = (f.path, f.table, f.survey, f.night, f.segment_id, c.plan, c.part, g.topic, g.generation)
    return select(*columns, s.commits.c.kind).select_from(
        s.files.join(s.commits, f.added == s.commits.c.number)
        .outerjoin(s.segments, f.segment_id == c.id)
        .outerjoin(s.generations, c.generation_id == g.id)
    )


def _path_problem(row: Row[Any], last: int) -> str | None:
    try:
        path = DataPath.parse(row.path)
    except ValueError as error:
        return str(error)
    if path.table != row.table or path.night != row.night or path.survey not in ("", row.survey):
        return f"its row says table {row.table}, survey {row.survey!r} and night {row.night}"
    if (path.merged is not None) != (row.kind == "merge"):
        return f"its name is not one of a file that a {row.kind} adds"
    if path.segment is None:
        return None if (path.merged or 0) <= last else f"its number is above the last one given, {last}"
    if path.segment.plan > last:
        return f"its number is above the last one given, {last}"
    return _segment_problem(row, path, path.segment)


def _segment_problem(row: Row[Any], path: DataPath, name: SegmentName) -> str | None:
    if row.segment_id is None:
        return f"is of no segment, though a {row.kind} added it" if row.kind == "drain" else None
    told = f"its row says plan {row.plan} part {row.part} of {row.topic}, generation {row.generation}"
    if name.generation != row.generation or path.topic not in (None, row.topic):
        return told
    # what is landed again, from quarantine or archive, has a number of its own
    return told if row.kind == "drain" and (name.plan, name.part) != (row.plan, row.part) else None
