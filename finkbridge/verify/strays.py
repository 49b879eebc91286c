"""Files of the lake that no commit lists: what they are, and which of them surely are not needed.

Deleted is only what surely is not needed, while the coordinator's lock is held, once the ledger and the files
in the scope were found whole, and every file that the ledger lists is there (else it may be older than the
lake, restored from a copy):

- what a plan left that is committed without this file: the plan of the file's own ranges, as a ledger
  restored from a copy gives a number a second time;
- what a merge or a requeue announced and did not commit;
- what merging replaced, and the ledger has as deleted already;
- any other file of which each message is in a committed segment, as the file itself says: so what an
  abandoned plan left once its offsets have landed otherwise, and not what the broker lost before they could;
- files aside in ``.scratch``, whose process is gone.

A pending plan's files are left: the next drain finishes the plan under the same names, and should the broker
have lost the messages by then, they are the only copy. So are those of a rebuild that did not end, which the
next one goes on from; those of plans that a rebuilt ledger could not take; what has a number that this ledger
never gave out; and all that is not named as finkbridge names files.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Row, inspect, select

from finkbridge import disk, layout
from finkbridge.errors import LakeAccessError
from finkbridge.lakefiles import data_paths, odd_paths
from finkbridge.layout import DataPath, SegmentName
from finkbridge.ledger import Coordinator, Ledger
from finkbridge.ledger import schema as s
from finkbridge.values import OffsetRange
from finkbridge.verify.findings import PRUNE, RESTORE_LEDGER, Finding, Scope
from finkbridge.verify.held import Held
from finkbridge.verify.listed import Selection, listed_now, pages, unlisted

_AT_ONCE = 1_000


class Fate(Enum):
    """What pruning does with a stray."""

    PRUNE = "delete: surely not committed"
    WAIT = "leave: its plan is pending"
    KEEP = "leave: not known to be uncommitted"
    FOREIGN = "leave: not finkbridge's"


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that no commit lists."""

    path: str
    fate: Fate
    problem: str
    remedy: str
    may_be_under_way: bool = False
    """Where a coordinator has the lake, it may be about to commit or to delete the file."""

    @property
    def finding(self) -> Finding:
        """The line about it."""
        return Finding("stray", self.path, self.problem, self.remedy)


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of plans and merges, as far as strays ask for it."""

    plans: Mapping[int, Row[Any]]
    ranges: Mapping[int, Sequence[OffsetRange]]
    """Of the plans."""
    held: Held
    """Tells what is in a file, and whether all of it is committed."""
    merging: frozenset[str]
    """What a merge or a requeue was about to commit."""
    rebuilt: frozenset[str]
    """What a rebuild has made and not committed yet."""
    sources: frozenset[tuple[str, int]]
    """Short topic and generation."""
    last_number: int

    def is_of_other(self, segment: SegmentName) -> bool:
        """Whether this ledger gave the number in a file's name to a plan of another topic or generation."""
        plan = self.plans.get(segment.plan)
        mine = (segment.topic, segment.generation)
        return plan is not None and mine != (layout.short_topic(plan.topic), plan.generation)


def find_strays(ledger: Ledger, scope: Scope) -> list[Stray]:
    """List the lake; return what the ledger does not list, as of after that, and what is of no known kind."""
    paths = (path for path in data_paths(ledger.lake) if _in_scope(path, scope))
    odd = [_foreign(path) for path in odd_paths(ledger.lake)] if scope.is_all else []
    unknown = unlisted(ledger, paths)
    if not unknown:
        return odd
    known = _known(ledger, unknown)
    late = listed_now(ledger, unknown)  # committed between the listing and now: no strays
    return odd + [
        judge(path, known, was_listed=path in late)
        for path in unknown
        if late.get(path, 0.0) is not None and os.path.lexists(ledger.lake / path)
    ]


def judge(path: str, known: Known, *, was_listed: bool) -> Stray:
    """Tell what a file is that no commit lists.

    Parameters
    ----------
    path
        Relative to the lake.
    known
        What the ledger knows.
    was_listed
        The ledger has the file as deleted.
    """
    if was_listed:
        return Stray(path, Fate.PRUNE, "is there again; merging replaced it, and it was deleted", PRUNE)
    if path.startswith(f"{layout.SCRATCH}/"):
        return _judge_scratch(path)
    try:
        named = DataPath.parse(path)
    except ValueError:
        return _foreign(path)
    if path in known.merging:
        problem = "was written to be committed, and is not"
        return Stray(path, Fate.PRUNE, problem, PRUNE, may_be_under_way=True)
    if path in known.rebuilt:
        problem, remedy = "was made by a rebuild that did not end", "run `finkbridge rebuild`, which goes on"
        return Stray(path, Fate.WAIT, problem, remedy, may_be_under_way=True)
    return _judge_number(path, named, known)


def prune(coordinator: Coordinator, scope: Scope) -> list[str]:
    """Delete what surely is not committed; return the paths.

    Raises
    ------
    LakeAccessError
        A file that the ledger lists is not there: nothing is deleted, as the ledger may be an old one.
    CommitConflictError
        Another coordinator has the lake.
    """
    ledger = coordinator.ledger
    for page in pages(ledger, Selection(None, None), only_alive=True):
        for file in page:
            if not (ledger.lake / file.path).is_file():
                raise LakeAccessError(
                    f"{file.path} is in the ledger and not in the lake, which may be newer than its ledger: "
                    "nothing was pruned; run `finkbridge verify` without --prune"
                )
    doomed = [stray.path for stray in find_strays(ledger, scope) if stray.fate is Fate.PRUNE]
    coordinator.forget_merges(doomed)  # first: it refuses where another coordinator has the lake
    with disk.writing(ledger.lake):
        for path in doomed:
            (ledger.lake / path).unlink(missing_ok=True)
    return doomed


def _judge_scratch(path: str) -> Stray:
    if layout.SCRATCH_NAME.fullmatch(path.removeprefix(f"{layout.SCRATCH}/")) is None:
        return _foreign(path)
    problem = "was left aside by a run that died"
    return Stray(path, Fate.PRUNE, problem, PRUNE, may_be_under_way=True)


def _judge_number(path: str, named: DataPath, known: Known) -> Stray:
    """Judge by the number in the name, if the file is of what this ledger gave the number to."""
    number = named.segment.plan if named.segment else named.merged or 0
    if number > known.last_number:
        return _newer(path, number, known)
    state = _state(path, named, known)
    if state == "pending":
        problem, remedy = f"plan {number} is pending", "run `finkbridge drain`, which finishes it"
        return Stray(path, Fate.WAIT, problem, remedy, may_be_under_way=True)
    if state == "lost":
        problem = f"plan {number} is given up, and the broker no longer has its messages"
        remedy = f"run `finkbridge drain`, which sets it aside in {layout.UNFINISHED}"
        return Stray(path, Fate.WAIT, problem, remedy, may_be_under_way=True)
    if state == "committed":
        return Stray(path, Fate.PRUNE, f"plan {number} is committed, and no commit has this file", PRUNE)
    if known.held.is_committed(path, named):
        return Stray(path, Fate.PRUNE, "no commit has it, and all that it holds is committed", PRUNE)
    return _kept(path, named, known)


def _state(path: str, named: DataPath, known: Known) -> str:
    """Return the state of the plan that a file is of; empty if this ledger has no such plan, or another."""
    segment = named.segment
    plan = known.plans.get(segment.plan) if segment else None
    if segment is None or plan is None:
        return ""
    ranges = known.ranges[segment.plan]
    is_within = any(r.partition == segment.partition and r.start <= segment.start < r.end for r in ranges)
    if known.is_of_other(segment) or not is_within:
        return ""
    if plan.state in {"pending", "lost"} or named.table in {"deliveries", "packets"}:
        return str(plan.state)
    return str(plan.state) if known.held.planned(path) == sorted(ranges) else ""


def _kept(path: str, named: DataPath, known: Known) -> Stray:
    segment = named.segment
    if segment is None:
        problem = "is named as of a merge, and rows of it are not known to be committed"
        return Stray(path, Fate.KEEP, problem, "move it out of the lake, or delete it yourself")
    if (segment.topic, segment.generation) in known.sources and not known.is_of_other(segment):
        problem = "no commit has it, and it is not sure that all that it holds is committed"
        take_in = "`finkbridge rebuild --ledger --replace` may take it in"
        choice = "delete it yourself" if named.table in {"deliveries", "packets"} else take_in
        remedy = f"keep it, it may be the only copy; or {choice}"
        return Stray(path, Fate.KEEP, problem, remedy)
    problem = f"is named as of plan {segment.plan}, which in this lake is of something else"
    return Stray(path, Fate.KEEP, problem, "move it to the lake that it is of, or delete it yourself")


def _newer(path: str, number: int, known: Known) -> Stray:
    problem = (
        f"has number {number}, and the ledger has given numbers up to {known.last_number} only: "
        "it may be older than the lake"
    )
    return Stray(path, Fate.KEEP, problem, RESTORE_LEDGER)


def _foreign(path: str) -> Stray:
    if path == layout.UNFINISHED:
        what = "has files of plans that were given up, which may be the only copy of their messages"
        return Stray(
            path, Fate.FOREIGN, what, "look at them (fastavro reads them), then move it out of the lake"
        )
    if path == layout.NEW_LEDGER or path.startswith(f"{layout.NEW_LEDGER}/"):
        what = "is of a rebuild of the ledger that did not end"
        return Stray(path, Fate.FOREIGN, what, "the next drain or rebuild removes it")
    return Stray(path, Fate.FOREIGN, "is not finkbridge's", "move it out of the lake")


def _known(ledger: Ledger, paths: Sequence[str]) -> Known:
    named = {layout.plan_of(path.rpartition("/")[2]) for path in paths}
    numbers = sorted(number for number in named if number is not None)
    p, g = s.plans.c, s.generations.c
    query = select(p.number, p.state, g.topic, g.generation).join(s.generations)
    x = s.plan_ranges.c
    spans = select(x.plan, x.partition, x.start_offset, x.end_offset)
    plans: dict[int, Row[Any]] = {}
    ranges: defaultdict[int, list[OffsetRange]] = defaultdict(list)
    for at in range(0, len(numbers), _AT_ONCE):
        some = numbers[at : at + _AT_ONCE]
        with ledger.reading() as connection:
            plans |= {row.number: row for row in connection.execute(query.where(p.number.in_(some)))}
            for row in connection.execute(spans.where(x.plan.in_(some))):
                ranges[row.plan].append(OffsetRange(row.partition, row.start_offset, row.end_offset))
    has_rebuilt = inspect(ledger.engine).has_table(s.rebuilt.name)
    with ledger.reading() as connection:
        last = connection.scalar(select(s.numbers.c.last).where(s.numbers.c.name == "plan")) or 0
        sources = connection.execute(select(g.topic, g.generation))
        return Known(
            plans,
            ranges,
            Held(ledger),
            frozenset(connection.scalars(select(s.merging.c.path))),
            frozenset(connection.scalars(select(s.rebuilt.c.path))) if has_rebuilt else frozenset(),
            frozenset((layout.short_topic(row.topic), row.generation) for row in sources),
            last,
        )


def _in_scope(path: str, scope: Scope) -> bool:
    if scope.is_all:
        return True
    try:
        named = DataPath.parse(path)
    except ValueError:
        return False
    if named.segment is None:
        return scope.has_night(named.night) and not scope.topics
    return scope.has_night(named.night) and scope.has_topic(named.segment.topic, layout.short_topic)
