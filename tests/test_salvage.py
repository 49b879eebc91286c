"""What a dead run landed is committed, or at least kept, when the broker has dropped the messages since."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from finkbridge import execution, layout, retire, salvage, sightings
from finkbridge.broker import Watermarks
from finkbridge.cli.outcome import complaints
from finkbridge.drain import drain
from finkbridge.errors import DecodeError, LakeAccessError
from finkbridge.execution import Execution
from finkbridge.land import Lander
from finkbridge.ledger import Ledger, coordinate
from finkbridge.ledger import schema as s
from finkbridge.rebuild import rebuild_ledger
from finkbridge.settings import Settings
from finkbridge.settling import DELETED, EXPIRED, RECREATED
from finkbridge.values import LandedPart, OffsetRange, SegmentPlan
from finkbridge.verify import Options, verify
from tests.support.dying import COORDINATOR, killed_at
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    assert_consistent,
    data_files,
    drained,
    gaps,
    ledger_rows,
    make_settings,
    offsets,
    points,
    real_alerts,
    sql,
)
from tests.support.offline import Given, assert_verified, messages_of, plan_of, point

BEFORE_COMMIT = (f"{COORDINATOR}.commit_segment", 1, "before")


def files(lake: Path) -> dict[str, bytes]:
    return {path: (lake / path).read_bytes() for path in data_files(lake)}


def strays(lake: Path, *, prune: bool = False) -> set[str]:
    findings = verify(lake, None, Options(prune=prune)).findings
    assert {finding.kind for finding in findings} <= {"stray"}
    return {finding.where for finding in findings}


# with a real broker


def real_topic(kafka: Kafka, shared_data: Path) -> str:
    """Two partitions of real alerts, with a hole, a message that is none and one of another schema."""
    name = kafka.topic("fink_salvage_ztf", partitions=2, config=KEPT)
    records = real_alerts(shared_data / "ztf").records
    times = [1_774_000_000_000 + i for i in range(len(records))]
    kafka.produce(name, records[:6], partition=0, timestamps=times[:6])
    kafka.produce(name, [(records[0][0], b"garbage"), *points(1)], partition=0, timestamps=times[6:8])
    kafka.produce_transaction(name, records[8:10], commit=False, partition=0)
    kafka.produce(name, records[10:14], partition=0, timestamps=times[10:14])
    kafka.produce(name, records[14:20], partition=1, timestamps=times[14:20])
    return name


def content(lake: Path) -> dict[str, Any]:
    """Return all that a lake says of the topic's first life, but for times."""
    mine = "generation = 1 ORDER BY kafka_partition, kafka_offset"
    packets = "_generation = 1 ORDER BY _kafka_partition, _kafka_offset"
    segments = "kafka_partition, start_offset, end_offset, rows, quarantined, holes"
    return {
        "deliveries": sql(lake, f"SELECT * FROM deliveries WHERE {mine}"),
        "ztf": sql(lake, f"SELECT COLUMNS(*)::VARCHAR FROM packets_ztf WHERE {packets}"),
        "other": sql(lake, f"SELECT COLUMNS(*)::VARCHAR FROM packets_other WHERE {packets}"),
        "quarantine": sql(lake, "SELECT * FROM quarantine ORDER BY ALL"),
        "segments": sql(lake, f"SELECT {segments} FROM segments WHERE generation = 1 ORDER BY ALL"),
        "schemas": sorted((row.schema_id, row.kind, row.content) for row in ledger_rows(lake, s.schemas)),
    }


def expire(kafka: Kafka, topic: str) -> None:
    kafka.expire(topic, {0: 3, 1: 6})  # of one partition in part: the plan is taken whole all the same


def delete(kafka: Kafka, topic: str) -> None:
    kafka.delete(topic)


def recreate(kafka: Kafka, topic: str) -> None:
    kafka.recreate(topic)
    kafka.produce(topic, points(*range(30)), partition=0)


@pytest.mark.kafka
@pytest.mark.parametrize(("lose", "new"), [(expire, 0), (delete, 0), (recreate, 30)])
def test_all_that_had_landed_is_in_the_lake_once(
    kafka: Kafka, shared_data: Path, tmp_path: Path, lose: Callable[..., None], new: int
) -> None:
    lake, topic, other = tmp_path / "lake", real_topic(kafka, shared_data), kafka.topic("fink_other_ztf")
    settings = make_settings(lake, kafka.bootstrap, topic)
    reference = settings.model_copy(update={"lake": tmp_path / "reference"})
    assert (drained(reference).total("rows"), drained(reference).total("rows")) == (17, 0)
    killed_at(BEFORE_COMMIT, drain, settings)
    landed = files(lake)
    lose(kafka, topic)
    report = drained(settings, other) if lose is delete else drained(settings)
    assert (report.total("salvaged"), report.total("expired"), report.total("lag")) == (18, 0, 0)
    assert report.total("planned") == 21 + new  # three offsets are of the transaction
    assert (report.total("rows"), report.total("quarantined")) == (17 + new, 1)
    (note,) = [line for line in complaints(report) if line.startswith("note:")]
    assert note == (
        "note: 18 messages were taken from files that a dead run had landed, as the broker no longer has them"
    )
    assert gaps(lake) == []
    assert content(lake)["deliveries"] == content(tmp_path / "reference")["deliveries"]
    assert content(lake) == content(tmp_path / "reference")
    assert {path: files(lake)[path] for path in landed} == landed
    assert len(offsets(lake)) == 17 + new
    assert_consistent(lake)
    assert_verified(lake)
    again = drained(settings, other) if lose is delete else drained(settings)
    assert (again.total("planned"), again.total("salvaged"), again.run) == (0, 0, 0)


@pytest.mark.kafka
@pytest.mark.parametrize(("lose", "reason"), [(expire, EXPIRED), (delete, DELETED), (recreate, RECREATED)])
def test_files_that_are_not_whole_are_left_and_named(
    kafka: Kafka, shared_data: Path, lake: Path, lose: Callable[..., None], reason: str
) -> None:
    topic, other = real_topic(kafka, shared_data), kafka.topic("fink_other_ztf")
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    (damaged, *_) = sorted(path for path in data_files(lake) if path.startswith("archive/"))
    whole = (lake / damaged).read_bytes()
    (lake / damaged).write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    landed = files(lake)
    lose(kafka, topic)
    report = drain(settings, [other] if lose is delete else [])
    (problem,) = report.problems
    assert problem.startswith(
        f"{topic}: {len(landed)} files of plan 1, which a dead run left, are not all of it"
    )
    assert report.total("salvaged") == 0
    assert {gap[4] for gap in gaps(lake)} == {reason}
    assert sum(end - start for _, _, start, end, _ in gaps(lake)) == report.total("expired") > 0
    kept = {path: (lake / layout.UNFINISHED / path).read_bytes() for path in landed}
    assert kept == landed
    assert not files(lake).keys() & landed.keys(), "no rebuild would take them"
    assert strays(lake) == strays(lake, prune=True) == {layout.UNFINISHED}
    assert drain(settings, [other] if lose is delete else []).problems == []


def give_up_on_a_full_disk(settings: Settings, names: Sequence[str] = ()) -> None:
    """Drain, and end as what was given up is to be set aside."""
    full = patch.object(retire, "_set_aside", side_effect=LakeAccessError("no space"))
    with full, pytest.raises(LakeAccessError):
        drain(settings, names)


@pytest.mark.kafka
@pytest.mark.parametrize(("lose", "reason"), [(expire, EXPIRED), (delete, DELETED), (recreate, RECREATED)])
def test_what_a_run_gave_up_and_did_not_set_aside_the_next_one_does(
    kafka: Kafka,
    shared_data: Path,
    lake: Path,
    lose: Callable[..., None],
    reason: str,
) -> None:
    """It dies in between, or the disk is full."""
    topic, other = real_topic(kafka, shared_data), kafka.topic("fink_other_ztf")
    settings, names = make_settings(lake, kafka.bootstrap, topic), [other] if lose is delete else []
    killed_at(BEFORE_COMMIT, drain, settings)
    (damaged, *_) = sorted(path for path in data_files(lake) if path.startswith("archive/"))
    (lake / damaged).write_bytes((lake / damaged).read_bytes()[:-1])
    landed = files(lake)
    lose(kafka, topic)

    give_up_on_a_full_disk(settings, names)
    assert files(lake) == landed
    told = [(f.kind, f.remedy) for f in verify(lake, None, Options()).findings if f.where in landed]
    assert len(told) == len(landed)
    assert all("run `finkbridge drain`, which sets it aside" in remedy for _, remedy in told)
    (problem,) = drain(settings, names).problems
    assert f"{len(landed)} files of plan 1, which a dead run left, are not all of it" in problem
    assert {path: (lake / layout.UNFINISHED / path).read_bytes() for path in landed} == landed
    assert {gap[4] for gap in gaps(lake)} == {reason}
    assert strays(lake) == {layout.UNFINISHED}
    assert drain(settings, names).problems == []


@pytest.mark.kafka
def test_a_rebuild_takes_nothing_that_was_given_up_and_not_set_aside(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_rebuilt_ztf")
    kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    landed = files(lake)
    recreate(kafka, topic)
    monkeypatch.setattr(salvage, "salvage", lambda *args: list(args[3]))  # as if they were not whole

    give_up_on_a_full_disk(settings)
    rebuild_ledger(settings, replace_old=True)
    assert {path: (lake / layout.UNFINISHED / path).read_bytes() for path in landed} == landed


@pytest.mark.kafka
def test_a_deleted_topic_is_not_given_up_while_its_plans_wait(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, other = kafka.topic("fink_stuck_ztf"), kafka.topic("fink_other_ztf")
    kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    kafka.delete(topic)

    def fail(*_: Any) -> Any:
        raise DecodeError("no rows")

    with monkeypatch.context() as patch:
        patch.setattr(salvage, "_landed", fail)
        patch.setattr(sightings, "SURELY_GONE_S", -1.0)
        for _ in range(2):
            problems = drain(settings, [other, topic]).problems
            assert any("its topic waits and nothing was deleted" in problem for problem in problems)
    assert gaps(lake) == []
    assert drained(settings, other).total("salvaged") == 4
    assert (gaps(lake), len(offsets(lake))) == ([], 4)


@pytest.mark.kafka
def test_plans_that_are_still_at_the_broker_are_drained_as_ever(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_there_ztf")
    kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    monkeypatch.setattr(salvage, "salvage", None)
    assert drained(settings).total("salvaged") == 0
    assert offsets(lake) == [(1, 0, o) for o in range(4)]


@pytest.mark.kafka
def test_tables_of_another_version_are_made_anew(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("fink_otherwise_ztf")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    landed = files(lake)
    for path in (p for p in landed if p.endswith(".parquet")):
        (lake / path).write_bytes(landed[path] + b"x")
    kafka.expire(topic, {0: 3})
    assert drained(settings).total("salvaged") == 3
    assert files(lake) == landed
    assert_consistent(lake)
    assert_verified(lake)


@pytest.mark.kafka
def test_tables_that_are_missing_are_made_anew(kafka: Kafka, lake: Path) -> None:
    """A run that dies while it names the files of a plan has named the archive's first."""
    topic = kafka.topic("fink_half_ztf")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(("finkbridge.disk:name_file", 1, "after"), drain, settings)
    assert [p.split("/")[0] for p in data_files(lake) if not p.startswith(".scratch")] == ["archive"]
    kafka.expire(topic, {0: 3})
    assert drained(settings).total("salvaged") == 3
    assert [o for *_, o in offsets(lake)] == [0, 1, 2]
    assert_consistent(lake)
    assert_verified(lake)


@pytest.mark.kafka
def test_what_expires_during_the_run_is_taken_from_the_files(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.topic("fink_late_ztf")
    kafka.produce(topic, points(*range(5)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    kafka.produce(topic, points(5))
    execute = Execution.execute

    def expire_first(self: Execution, plans: Any) -> None:
        kafka.expire(topic, {0: 2})
        execute(self, plans)

    monkeypatch.setattr(Execution, "execute", expire_first)
    report = drained(settings)
    assert [report.total(n) for n in ("planned", "rows", "salvaged", "lag")] == [6, 6, 5, 0]
    assert (gaps(lake), [o for *_, o in offsets(lake)]) == ([], list(range(6)))
    assert_consistent(lake)


@pytest.mark.kafka
def test_ledger_put_back_from_a_copy_that_has_the_plan_pending(
    kafka: Kafka, lake: Path, tmp_path: Path
) -> None:
    topic, copy = kafka.topic("fink_copy_ztf"), tmp_path / "copy.db"
    kafka.produce(topic, points(*range(4)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    with closing(sqlite3.connect(lake / "ledger.db")) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    drained(settings)
    landed = files(lake)
    for path in lake.glob("ledger.db*"):
        path.unlink()
    shutil.copy(copy, lake / "ledger.db")
    kafka.expire(topic, {0: 4})
    assert drained(settings).total("salvaged") == 4
    assert (gaps(lake), files(lake)) == ([], landed)
    assert [o for *_, o in offsets(lake)] == list(range(4))
    assert_verified(lake)


@pytest.mark.kafka
@pytest.mark.parametrize("has_expired", [False, True])
def test_files_of_the_next_life_are_not_taken_for_the_last_one(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, *, has_expired: bool
) -> None:
    """Recreated between plan and fetch, and the run died before it looked again: the headers are wrong."""
    topic = kafka.topic("fink_recreated_ztf")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    run_task = execution.run_task

    def recreate_first(task: Any) -> Any:
        kafka.recreate(topic)
        kafka.produce(topic, points(*range(10, 13)))
        return run_task(task)

    def die(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execution, "run_task", recreate_first)
        patch.setattr(Execution, "_same_generation", die)
        with pytest.raises(KeyboardInterrupt):
            drain(settings)
    if has_expired:
        kafka.expire(topic, {0: 3})
        kafka.produce(topic, points(20))
    landed = files(lake)
    problems = drain(settings).problems
    if has_expired:
        (problem,) = problems
        assert "not surely of this life of the topic" in problem
        assert {p: (lake / layout.UNFINISHED / p).read_bytes() for p in landed} == landed
        assert offsets(lake) == [(2, 0, 3)]
        return
    assert (gaps(lake), offsets(lake)) == ([(1, 0, 0, 3, RECREATED)], [(2, 0, o) for o in range(3)])
    assert sql(lake, "SELECT x FROM packets_other ORDER BY x") == [(10.0,), (11.0,), (12.0,)]
    assert strays(lake) == set(), "no rebuild would take them for messages of their own"


@pytest.mark.kafka
def test_files_that_do_not_become_rows_any_more_wait(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, other = kafka.topic("fink_stuck_ztf"), kafka.topic("fink_other_ztf")
    for name in (topic, other):
        kafka.produce(name, points(*range(2)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed_at(BEFORE_COMMIT, drain, settings)
    landed = files(lake)
    kafka.expire(topic, {0: 2})

    def fail(*_: Any) -> Any:
        raise DecodeError("no rows")

    with monkeypatch.context() as patch:
        patch.setattr(salvage, "_landed", fail)
        report = drain(settings, [topic, other])
    (problem,) = report.problems
    assert "cannot be committed from its files (no rows): its topic waits and nothing was deleted" in problem
    assert (report.total("rows"), gaps(lake)) == (2, [])  # the other topic's
    assert {path: files(lake)[path] for path in landed} == landed
    assert drained(settings).total("salvaged") == 2
    assert len(offsets(lake)) == 4
    assert_consistent(lake)


# without one


def landed_by(lake: Path, given: Given, ranges: list[OffsetRange], byte_limit: int) -> Any:
    """Land a plan and leave it pending; return it with its parts."""
    with Ledger(lake, create=True) as ledger, coordinate(ledger) as coordinator:
        plan = plan_of(coordinator, "fink_a_ztf", ranges, byte_limit)
        return plan, Lander(lake, given).land(plan)


def task_of(lake: Path, plan: SegmentPlan) -> salvage.SalvageTask:
    paths = tuple(p.relative_to(lake).as_posix() for p in sorted(lake.glob("*/fink_a_ztf/**/*.avro")))
    return salvage.SalvageTask(lake, plan, paths, "auto", 60.0)


def said(parts: tuple[LandedPart, ...]) -> list[Any]:
    """Return all that the ledger is told of parts, whatever the order of files and schemas."""
    return [
        (
            replace(p, files=(), schemas=(), last=()),
            sorted(p.files, key=lambda file: file.path),
            set(p.schemas),
            sorted(p.last, key=lambda message: message.partition),
        )
        for p in parts
    ]


BAD = (None, b"rubbish")


@hypothesis(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["good", "bad", "hole"]), min_size=1, max_size=14),
    cut=st.integers(0, 14),
    byte_limit=st.sampled_from([1, 700, 1500, 10**9]),
    drop=st.integers(0, 30),
)
def test_files_say_all_that_was_told_when_they_were_landed(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], cut: int, byte_limit: int, drop: int
) -> None:
    lake = tmp_path_factory.mktemp("lake")
    all_of_it = messages_of([point(i) if kind == "good" else BAD for i, kind in enumerate(kinds)])
    present = [m for m, kind in zip(all_of_it, kinds, strict=True) if kind != "hole"]
    cut = min(cut, len(kinds))
    messages = [m if m.offset < cut else m._replace(partition=1) for m in present]
    ranges = [OffsetRange(0, 0, cut), OffsetRange(1, cut, len(kinds))]
    plan, parts = landed_by(lake, Given(messages), [r for r in ranges if r.offsets], byte_limit)
    before = files(lake)
    task = task_of(lake, plan)
    if all(part.files for part in parts):
        assert said(salvage.land(task)) == said(parts)
    else:
        assert salvage.land(task) == ()  # nothing in the lake tells of a part without any message
    assert files(lake) == before
    if task.paths:
        (lake / task.paths[drop % len(task.paths)]).unlink()
        assert salvage.whole_parts(task_of(lake, plan)) == []


@pytest.mark.parametrize(
    ("end", "is_doubtful"), [(None, True), (0, True), (3, True), (4, False)], ids=["over", "0", "3", "4"]
)
def test_only_what_the_life_has_not_got_may_be_of_the_next_one(
    lake: Path, end: int | None, *, is_doubtful: bool
) -> None:
    given = Given(messages_of([point(i) for i in range(4)]))
    _, parts = landed_by(lake, given, [OffsetRange(0, 0, 4)], 10**9)
    with Ledger(lake) as ledger:
        generation = ledger.generations()["ztf", "fink_a_ztf"]
    marks = {} if end is None else {0: Watermarks(0, end)}
    loss = salvage.Loss(generation, marks, EXPIRED, lambda last: (last.partition, last.offset) == (0, 3))
    assert salvage._is_later(parts, loss) is is_doubtful
    never = salvage.Loss(generation, marks, EXPIRED, lambda _: False)
    assert salvage._is_later(parts, never) is False
    unknown = salvage.Loss(generation, marks, EXPIRED, lambda _: None)
    assert salvage._is_later(parts, unknown) is (None if is_doubtful else False)


@pytest.mark.parametrize("other", ["number", "ranges"])
def test_files_of_another_plan_are_not_taken(lake: Path, other: str) -> None:
    given = Given(messages_of([point(i) for i in range(4)]))
    plan, _ = landed_by(lake, given, [OffsetRange(0, 0, 4)], 10**9)
    assert len(salvage.whole_parts(task_of(lake, plan))) == 1
    number, ranges = (9, plan.ranges) if other == "number" else (plan.number, (OffsetRange(0, 0, 3),))
    assert salvage.whole_parts(task_of(lake, SegmentPlan(number, plan.source, ranges, 10**9))) == []
