"""What follows from other rows of the ledger: sets, orders, numbers and fingerprints that it keeps beside."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import Column, Connection, and_, func, or_, select

from finkbridge import parquet
from finkbridge.avro.schemas import fingerprint_of, parse_schema
from finkbridge.avro.unfold import columns_of
from finkbridge.errors import SchemaError
from finkbridge.ledger import kafka_times, seen
from finkbridge.ledger import schema as s
from finkbridge.ledger.coverage import Counts
from finkbridge.values import STATES
from finkbridge.verify.findings import RESTORE_LEDGER, Finding
from finkbridge.verify.offsets import BATCH_ROWS

_Findings = Iterator[Finding]

_FLAGS = ("nights_stale", "tables_missing")
_FACTS = ("version", "epoch", "published", "published_mtime_ns", "lake", *_FLAGS)


def check_derived(connection: Connection) -> _Findings:
    """Yield every row that does not follow from those that it is made of."""
    for check in (
        _commits, _added, _sets, _plans, _positions, _fingerprints, _columns, _delays, _settled, _looks,
        _night_counts, _facts,
    ):  # fmt: skip
        yield from check(connection)


def _found(where: str, problem: str) -> Finding:
    return Finding("counts", where, problem, RESTORE_LEDGER)


def _commits(connection: Connection) -> _Findings:
    """Yield where commits have a break or a smaller epoch, and those that did not what their kind does."""
    c, last = s.commits.c, connection.scalar(select(s.numbers.c.last).where(s.numbers.c.name == "commit"))
    count, newest = connection.execute(select(func.count(), func.max(c.number))).one()
    if not count == (newest or 0) == last:
        yield _found("commits", f"are {count}, the newest is {newest}, and the last number given is {last}")
    requeued = connection.scalar(select(func.max(c.number)).where(c.kind == "requeue")) or 0
    epoch = 1
    columns = (s.segments.c.commit, s.gaps.c.commit, s.files.c.added, s.quarantine.c.settled)
    did = [select(column.label("n")).distinct().subquery() for column in columns]
    done: Any = s.commits
    for some in did:
        done = done.outerjoin(some, some.c.n == c.number)
    query = select(c.number, c.kind, c.epoch, *(some.c.n.is_not(None) for some in did))
    rows = connection.execution_options(yield_per=BATCH_ROWS).execute(
        query.select_from(done).order_by(c.number)
    )
    for row in rows:
        segments, gaps, files, settled = row[3:]
        good = {
            "drain": segments and not gaps,
            "adopt": (segments or files) and not gaps,
            "gap": gaps and not (segments or files),
            "merge": files and not (segments or gaps or settled),
            "requeue": files and settled and not (segments or gaps),
            "rebuild": not (segments or gaps or settled),
            # what it accepted may have landed since
            "accept": (settled or row.number < requeued) and not (segments or gaps or files),
        }
        if not good.get(row.kind, False):
            yield _found(f"commit {row.number}", f"is of the kind {row.kind!r}, and that is not what it did")
        if row.epoch < epoch:
            yield _found(f"commit {row.number}", f"is of epoch {row.epoch}, and one before of {epoch}")
        epoch = row.epoch


def _added(connection: Connection) -> _Findings:
    """Yield files that another commit added than their segment's, but for those requeued or made anew."""
    f, c = s.files.c, s.segments.c
    joined = s.files.join(s.segments, f.segment_id == c.id).join(s.commits, f.added == s.commits.c.number)
    is_first = or_(
        s.commits.c.kind == "drain",
        and_(s.commits.c.kind == "adopt", f.table.in_(("archive", "quarantine"))),
    )
    strange = select(f.path, f.added, c.commit).select_from(joined).where(is_first, f.added != c.commit)
    for row in connection.execute(strange):
        yield _found(row.path, f"was added by commit {row.added}, and its segment by {row.commit}")
    settled = (
        select(s.quarantine.c.settled)
        .where(s.quarantine.c.settled == f.added, s.quarantine.c.segment_id == f.segment_id)
        .exists()
    )
    requeued = select(f.path).join(s.commits, f.added == s.commits.c.number)
    for path in connection.scalars(requeued.where(s.commits.c.kind == "requeue", ~settled)):
        yield _found(path, "was added by a requeue which settled nothing of its segment")


def _sets(connection: Connection) -> _Findings:
    """Yield surveys and writer schemas of a topic's life that are not those of its archive files."""
    f, g = s.files.c, s.segments.c.generation_id
    archived = s.files.join(s.segments, f.segment_id == s.segments.c.id)
    for table, noted, of in (
        (s.generation_surveys, s.generation_surveys.c.survey, f.survey),
        (s.generation_schemas, s.generation_schemas.c.schema_id, f.schema_id),
    ):
        told = _pairs(connection, select(table.c.generation_id, noted))
        due = _pairs(connection, select(g, of).select_from(archived).where(f.table == "archive").distinct())
        for generation, what in sorted(told ^ due):
            problem = (
                f"has {what} and no archive file of it" if (generation, what) in told else f"lacks {what}"
            )
            yield _found(f"{table.name} of generation {generation}", problem)


def _pairs(connection: Connection, query: Any) -> set[tuple[int, str]]:
    return {(row[0], row[1]) for row in connection.execute(query)}


def _plans(connection: Connection) -> _Findings:
    """Yield plans of which something else landed than was planned."""
    p, c, r, x = s.plans.c, s.segments.c, s.plan_ranges.c, s.segment_ranges.c
    landed = select(c.plan).join(s.plans, c.plan == p.number).where(c.generation_id != p.generation_id)
    for number in connection.scalars(landed.distinct()):
        yield _found(f"plan {number}", "is of one topic, and what landed of it of another")
    empty = select(p.number).where(~select(r.plan).where(r.plan == p.number).exists())
    for number in connection.scalars(empty):
        yield _found(f"plan {number}", "has no offset ranges")
    planned = select(r.plan, r.partition, r.start_offset, r.end_offset).join(s.plans)
    got = select(c.plan, x.partition, x.start_offset, x.end_offset).select_from(
        s.segment_ranges.join(s.segments)
    )
    order = ("plan", "partition", "start_offset")
    due = _joined(connection, planned.where(p.state == "committed").order_by(*order))
    told = _joined(connection, got.order_by(*order))
    for (plan, ranges), (other, pieces) in zip(due, told, strict=False):
        if plan != other:
            yield _found(f"plan {plan}", f"is committed, and what landed next is of plan {other}")
            return
        if ranges != pieces:
            yield _found(f"plan {plan}", f"has ranges {ranges}, and {pieces} have landed"[:500])


def _joined(connection: Connection, query: Any) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield the ranges of each plan, joined where one begins at the end of another."""
    plan, ranges = None, list[list[int]]()
    for number, partition, start, end in connection.execution_options(yield_per=BATCH_ROWS).execute(query):
        if number != plan:
            if plan is not None:
                yield plan, ranges
            plan, ranges = number, []
        if ranges and ranges[-1][0] == partition and ranges[-1][2] == start:
            ranges[-1][2] = end
        else:
            ranges.append([partition, start, end])
    if plan is not None:
        yield plan, ranges


def _positions(connection: Connection) -> _Findings:
    """Yield plans and segments whose ranges are not numbered from 0, and ranges that are none."""
    r, x = s.plan_ranges.c, s.segment_ranges.c
    for key, number in ((r.plan, r.position), (x.segment_id, x.position)):
        yield from _numbered(connection, key, number)
    bad = select(r.plan).where(or_(r.start_offset < 0, r.end_offset <= r.start_offset, r.partition < 0))
    for plan in connection.scalars(bad):
        yield _found(f"plan {plan}", "has a range that is none")


def _numbered(connection: Connection, key: Column[Any], number: Column[Any]) -> _Findings:
    ends = func.min(number), func.max(number), func.count()
    broken = or_(ends[0] != 0, ends[1] != ends[2] - 1)
    query = select(key).group_by(key).having(broken)
    for found in connection.scalars(query):
        yield _found(f"{key.table.name} of {key.name} {found}", f"have no {number.name} from 0 on")


def _fingerprints(connection: Connection) -> _Findings:
    """Yield schemas whose key is not the fingerprint of their content."""
    for row in connection.execution_options(yield_per=100).execute(select(s.schemas)):
        if row.kind not in ("avro", "arrow"):
            yield _found(f"schema {row.schema_id}", f"is of the kind {row.kind!r}")
        of = fingerprint_of if row.kind == "avro" else parquet.fingerprint_of
        if of(row.content) != row.schema_id:
            yield _found(f"schema {row.schema_id}", "is damaged: its content has another fingerprint")


def _columns(connection: Connection) -> _Findings:
    """Yield writer schemas whose columns were counted otherwise."""
    x, n = s.schemas.c, s.schema_columns.c
    both = s.schemas.outerjoin(s.schema_columns, x.schema_id == n.schema_id)
    query = select(x.schema_id, x.content, n.columns).select_from(both).where(x.kind == "avro")
    known = set()
    for row in connection.execution_options(yield_per=100).execute(query):
        known.add(row.schema_id)
        with suppress(SchemaError):  # of damaged ones the fingerprint tells
            if (has := columns_of(parse_schema(row.content).simple)) != row.columns:
                yield _found(f"schema {row.schema_id}", f"has {has} columns, and counts for {row.columns}")
    for other in set(connection.scalars(select(n.schema_id))) - known:
        yield _found(f"columns of schema {other}", "are of no schema of the lake")


def _delays(connection: Connection) -> _Findings:
    """Yield topics of which one bound of how late their alerts came is told, and the other is not."""
    for row in connection.execute(select(s.generation_surveys)):
        if (row.after_start_s is None) != (row.after_end_s is None):
            where = f"{row.survey} alerts of generation {row.generation_id}"
            yield _found(where, "do not say how early or how late they came")


def _settled(connection: Connection) -> _Findings:
    """Yield messages whose state is not that of the commit that landed or accepted them."""
    q, c = s.quarantine.c, s.commits.c
    query = select(s.quarantine, c.kind, s.segments.c.generation_id.label("owner"))
    query = query.select_from(
        s.quarantine.join(s.segments, q.segment_id == s.segments.c.id).outerjoin(
            s.commits, q.settled == c.number
        )
    )
    kinds = dict(zip(STATES, (None, "requeue", "accept"), strict=True))
    for row in connection.execution_options(yield_per=BATCH_ROWS).execute(query):
        where = f"quarantined message {row.id}"
        if row.state not in kinds or kinds[row.state] != row.kind:
            yield _found(where, f"is {row.state!r}, and what settled it was {row.kind or 'nothing'}")
        if row.generation_id != row.owner:
            yield _found(where, "is of another topic than its segment")


def _looks(connection: Connection) -> _Findings:
    """Yield looks at no partition, without a time, or with another first message than the ranges have.

    Their times need not be in order: they are this machine's, whose clock may be set back.
    """
    x, p = s.looks.c, s.partitions.c
    both = and_(p.generation_id == x.generation_id, p.partition == x.partition)
    for row in connection.execute(
        select(s.looks, p.first_offset).select_from(s.looks.outerjoin(s.partitions, both))
    ):
        where = f"look at partition {row.partition} of generation {row.generation_id}"
        if row.first_offset is None:
            yield _found(where, "is of no partition of the lake")
        times = (row.first_at, row.seen_at, *filter(None, (row.reached_at, row.gone_at)))
        if min(times) <= 0 or row.seen_end < 0:
            yield _found(where, "has a time that is none, or an end below 0")
        key = (row.generation_id, row.partition)
        if row.first_ms is not None and row.first_ms != kafka_times.first_ms(connection, key):
            yield _found(where, f"says that its first message is of {row.first_ms}, which its ranges do not")


def _night_counts(connection: Connection) -> _Findings:
    """Yield counts of more rows than the night has; `check_counts` counts again."""
    f, x = s.files.c, s.night_counts.c
    rows = select(f.survey, f.night, func.sum(f.rows).label("n")).where(
        f.table == "deliveries", f.removed.is_(None)
    )
    now = {(r.survey, r.night): int(r.n) for r in connection.execute(rows.group_by(f.survey, f.night))}
    for row in connection.execute(select(s.night_counts).order_by(x.survey, x.night)):
        counts, has = Counts(*row[2:]), now.get((row.survey, row.night), 0)
        if not 0 <= counts.alerts + counts.duplicates <= counts.rows or not 0 < counts.rows <= has:
            where = f"count of night {row.night} of {row.survey}"
            yield _found(where, f"has {counts.rows} rows and {counts.alerts} alerts; the night has {has}")


def _facts(connection: Connection) -> _Findings:
    """Yield what the ledger cannot have noted of itself."""
    last = connection.scalar(select(func.max(s.commits.c.number))) or 0
    most = defaultdict(lambda: 2**63, published=last, version=s.VERSION, **dict.fromkeys(_FLAGS, 1))
    least = defaultdict(int, version=s.VERSION)
    facts = connection.execute(select(s.meta)).all()
    names = {row.key for row in facts}
    gone = {f"{seen.GONE}{generation}" for generation in connection.scalars(select(s.generations.c.id))}
    for row in facts:
        is_known = row.key in gone or _is_known(row.key)
        if not is_known or not least[row.key] <= row.value <= most[row.key]:
            yield _found(f"fact {row.key!r}", f"is {row.value}, which it cannot be")
    yield from _missing(("version", "epoch", "published"), names, "fact")
    yield from _missing(("plan", "commit"), connection.scalars(select(s.numbers.c.name)), "number of")


def _is_known(key: str) -> bool:
    if key in _FACTS:
        return True
    try:
        pair = json.loads(key.removeprefix("searched "))
    except ValueError:
        return False
    return key.startswith("searched ") and isinstance(pair, list) and len(pair) == 2


def _missing(due: Iterable[str], names: Iterable[str], what: str) -> _Findings:
    told = set(names)
    yield from (_found(f"{what} {name!r}", "is not there") for name in due if name not in told)
    if what == "number of":
        yield from (_found(f"{what} {name!r}", "is none of ours") for name in sorted(told - set(due)))
