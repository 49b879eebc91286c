"""Commits a dead run's plans from the files that it left, where the broker no longer has their messages.

A run that dies between landing a plan and committing it leaves the plan pending, and its files. What expires
at the broker until the next run, or is deleted with its topic, these files alone have.

    1 prove      archive and quarantine files of all parts, byte for byte: each planned offset is once a row,
                 quarantined, or in a hole that was confirmed when it was landed
    2 remake     the tables' files from the archive's, under the names that they have, if they are there
    3 commit     as any plan, in its partitions' order; what is lost before it is recorded first

What is in archive and quarantine was judged when it was landed, and is not judged again: no broker or
registry is asked, no setting counts, and no file of theirs is written. So the plan's number stays, and a
death in the midst changes nothing: the next run begins anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finkbridge import disk
from finkbridge.backlog import is_there
from finkbridge.broker import Watermarks
from finkbridge.deadline import deadline
from finkbridge.disk import Staging
from finkbridge.errors import BrokerError, DecodeError, LakeError, NameTakenError, SalvageError
from finkbridge.examine import Examined, ExamineTask, examine, rejections_in, schema_in
from finkbridge.land import S_PER_BYTE
from finkbridge.layout import SegmentName
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import KnownGeneration
from finkbridge.remake import Remade, RemakeTask, remake
from finkbridge.report import DrainReport
from finkbridge.retire import delete_landed, left_in_lake
from finkbridge.settings import Settings
from finkbridge.text import storable
from finkbridge.values import LandedFile, LandedPart, LastMessage, OffsetRange, SegmentPlan, covers
from finkbridge.workforce import Workforce


@dataclass(frozen=True, slots=True)
class Loss:
    """What a broker no longer has of a topic's life."""

    generation: KnownGeneration
    marks: Mapping[int, Watermarks]
    """What it still has; empty where the life is over. Before their ends no other life has anything."""
    reason: str
    is_later: Callable[[LastMessage], bool | None] = lambda _: False
    """Whether a message is of the topic's next life, as it was recreated while a run fetched; None: maybe."""


@dataclass(frozen=True, slots=True)
class SalvageTask:
    """All that a worker needs."""

    lake: Path
    plan: SegmentPlan
    paths: tuple[str, ...]
    """Of all files in archive and quarantine that are named as of the plan, relative to the lake."""
    engine: Literal["auto", "fastavro"]
    timeout_s: float
    """As of a part that is landed."""


def salvage(
    coordinator: Coordinator,
    settings: Settings,
    report: DrainReport,
    plans: Sequence[SegmentPlan],
    loss: Loss,
) -> list[SegmentPlan]:
    """Commit, from their files, pending plans that the broker cannot give again; return the other ones.

    Parameters
    ----------
    coordinator, settings
        Of the lake.
    report
        Of the run.
    plans
        Of one life of a topic, by number.
    loss
        What is gone of it. Plans before one that is gone are taken from their files, too: it waits for them.

    Raises
    ------
    SalvageError
        Whole files do not become rows: the plan stays pending, and nothing is deleted.
    """
    gone = [at for at, plan in enumerate(plans) if not is_there(plan, loss.marks)]
    first = plans[: gone[-1] + 1] if gone else []
    files, left = left_in_lake(coordinator.ledger.lake, first), []
    with closing(Workforce(0)) as workers:
        for plan in first:
            try:
                parts = _landed(coordinator, settings, workers, plan, files.get(plan.number, ()))
                is_later = _is_later(parts, loss)
                if parts and is_later is False and _has_way(coordinator, report, plan, loss):
                    _commit(coordinator, report, plan, parts)
                    continue
                if is_later:
                    _forget(coordinator, plan)
                left.append(plan)
            except (LakeError, BrokerError):
                raise
            except Exception as error:
                raise _refusal(plan, error) from error
    return [*left, *plans[len(first) :]]


def _refusal(plan: SegmentPlan, error: Exception) -> SalvageError:
    return SalvageError(
        f"{plan.source.topic}: plan {plan.number} of a dead run, whose messages the broker no longer has, "
        f"cannot be committed from its files ({storable(str(error), 300)}): its topic waits and nothing was "
        "deleted; run again, or move these files out of the lake to give it up"
    )


def land(task: SalvageTask) -> tuple[LandedPart, ...]:
    """Make what a plan's files have ready to be committed, in a worker; return nothing if they are not whole.

    Raises
    ------
    NameTakenError
        The tables' files are there with other content, as another version of a library wrote them.
    DecodeError
        Messages that were landed do not become rows.
    """
    found = whole_parts(task)
    remade = [[_remake(task, file) for file in _archives(part.landed)] for part in found]
    _publish(task.lake, [made for mine in remade for made in mine])
    _sync(task.lake, [file.path for part in found for file in part.landed.files])
    return tuple(_complete(task.lake, part.landed, made) for part, made in zip(found, remade, strict=True))


def whole_parts(task: SalvageTask) -> list[Examined]:
    """Return the parts of a plan as its archive and quarantine files prove them; none if any is not whole."""
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for path in task.paths:
        paths[SegmentName.parse(path.rpartition("/")[2]).part].append(path)
    found: list[Examined] = []
    with suppress(DecodeError):
        for number in sorted(paths):
            told = examine(ExamineTask(task.lake, tuple(sorted(paths[number]))))
            found += [part for part in told if _is_of(part, task.plan)]
        if _is_whole(found, task.plan):
            return found
    return []


def _is_of(part: Examined, plan: SegmentPlan) -> bool:
    said = part.source, part.plan, part.planned, part.requeued
    return said == (plan.source, plan.number, plan.ranges, None)


def _is_whole(parts: Sequence[Examined], plan: SegmentPlan) -> bool:
    if [part.landed.part for part in parts] != list(range(len(parts))):
        return False
    if not all(part.is_whole for part in parts):
        return False
    spans = [count.range for part in parts for count in part.landed.counts]
    return all(covers([s for s in spans if s.partition == r.partition], r) for r in plan.ranges)


def _archives(part: LandedPart) -> list[LandedFile]:
    return [file for file in part.files if file.table == "archive"]


def _remake(task: SalvageTask, file: LandedFile) -> Remade:
    with deadline(task.timeout_s + file.bytes * S_PER_BYTE, f"decoding {file.path}"):
        return remake(RemakeTask(task.lake, file, task.plan.number, task.engine))


def _publish(lake: Path, remade: Sequence[Remade]) -> None:
    """Give the tables' files their names; the same ones may have them."""
    place = Staging(lake)
    made = [pair for one in remade for pair in one.aside]
    with disk.writing(lake):
        try:
            for aside, path in made:
                place.keep(aside, path)
            place.publish()
        finally:
            place.discard()
            for aside, _ in made:
                aside.unlink(missing_ok=True)


def _sync(lake: Path, paths: Sequence[str]) -> None:
    """Bring to disk what is there already: the run that wrote it may have died before it did."""
    folders: dict[Path, None] = {}
    with disk.writing(lake):
        for path in paths:
            disk.sync_file(lake / path)
            folders |= dict.fromkeys([(lake / path).parent, (lake / path).parent.parent])
        for folder in folders:
            disk.sync_folder(folder)


def _complete(lake: Path, part: LandedPart, remade: Sequence[Remade]) -> LandedPart:
    writers = [schema_in(lake, file.path) for file in _archives(part)]
    rejected = [r for f in part.files if f.table == "quarantine" for r in rejections_in(lake, f.path)]
    return replace(
        part,
        files=(*part.files, *(file for made in remade for file in made.files)),
        schemas=(*writers, *(schema for made in remade for schema in made.schemas)),
        rejected=tuple(rejected),
    )


def _landed(
    coordinator: Coordinator,
    settings: Settings,
    workers: Workforce,
    plan: SegmentPlan,
    files: Sequence[Path],
) -> tuple[LandedPart, ...]:
    lake = coordinator.ledger.lake
    paths = tuple(path.relative_to(lake).as_posix() for path in files if path.suffix == ".avro")
    if not paths:
        return ()
    task = SalvageTask(lake.absolute(), plan, paths, settings.decode.engine, settings.worker_timeout_s)
    try:
        return workers.submit_alone(land, task).result()
    except NameTakenError:
        coordinator.check()  # first: another coordinator may have committed these files
        _delete_tables(lake, files)
        return workers.submit_alone(land, task).result()


def _delete_tables(lake: Path, files: Sequence[Path]) -> None:
    """Delete tables' files that have other content; all that is in them is in the archive, as just proven."""
    with disk.writing(lake):
        for path in files:
            if path.suffix == ".parquet":
                path.unlink(missing_ok=True)


def _is_later(parts: Sequence[LandedPart], loss: Loss) -> bool | None:
    """Whether the last message of each partition, fetched last, is of the next life; None: some, or maybe."""
    last = {m.partition: m for part in parts for m in part.last}
    rest = [m for p, m in last.items() if p not in loss.marks or m.offset >= loss.marks[p].end]
    answers = {loss.is_later(m) for m in rest}
    if answers <= {False}:
        return False
    return True if answers == {True} and len(rest) == len(last) else None


def _forget(coordinator: Coordinator, plan: SegmentPlan) -> None:
    """Delete the files of a plan that has messages of the next life: they land as of that, and only once."""
    coordinator.check()  # first: another coordinator may have the lake
    delete_landed(coordinator, [plan])


def _has_way(coordinator: Coordinator, report: DrainReport, plan: SegmentPlan, loss: Loss) -> bool:
    """Whether nothing that can still be had is before a plan; what is lost there is recorded."""
    rows = coordinator.ledger.partitions(loss.generation.row_id)
    nexts = {r: rows[r.partition].next_offset for r in plan.ranges}
    if any(at > r.start for r, at in nexts.items()):
        return False
    before = [OffsetRange(r.partition, at, r.start) for r, at in nexts.items() if at < r.start]
    if not all(_is_gone(span, loss.marks) for span in before):
        return False
    for gap in before:
        coordinator.commit_gap(loss.generation, gap, loss.reason)
        report.lost(plan.source, gap)
    return True


def _is_gone(span: OffsetRange, marks: Mapping[int, Watermarks]) -> bool:
    if span.partition not in marks:
        return True
    low, end, _ = marks[span.partition]
    return span.end <= low or span.start >= end


def _commit(
    coordinator: Coordinator, report: DrainReport, plan: SegmentPlan, parts: tuple[LandedPart, ...]
) -> None:
    coordinator.commit_segment(plan, parts)
    report.planned(plan)
    topic = report.topic(plan.source)
    topic.add(parts)
    topic.lag = max(0, topic.lag)  # it counts the plan only where the messages went during the run
    topic.salvaged += sum(c.rows + c.quarantined for part in parts for c in part.counts)
