"""A drain that is killed between any two of its steps, and run again, leaves the lake of one that was not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from finkbridge import execution, workers
from finkbridge.drain import drain
from finkbridge.ledger import schema as s
from finkbridge.settings import Settings
from tests.support.dying import COORDINATOR, FORK, killed_at
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    alive_files,
    assert_consistent,
    data_files,
    drained,
    forget_landers,
    gaps,
    ledger_rows,
    make_settings,
    offsets,
    points,
    real_alerts,
    sql,
)
from tests.support.offline import assert_verified

pytestmark = pytest.mark.kafka

STEPS = [
    ("finkbridge.ledger.store:Ledger._create", 1, "after"),
    (f"{COORDINATOR}.add_generation", 1, "before"),
    (f"{COORDINATOR}.start_partitions", 1, "before"),
    ("finkbridge.sightings:note", 1, "before"),
    (f"{COORDINATOR}.add_plans", 1, "before"),
    ("finkbridge.sightings:note", 1, "after"),
    (f"{COORDINATOR}.start_run", 1, "after"),
    ("finkbridge.broker.client:Broker.fetch", 1, "before"),
    ("finkbridge.broker.client:Broker.confirm_holes", 1, "after"),
    ("finkbridge.avro.archive:write_container", 1, "after"),
    ("finkbridge.parquet:write", 1, "after"),
    ("finkbridge.avro.quarantine:write_container", 1, "after"),
    ("finkbridge.disk:sync_file", 1, "before"),
    ("finkbridge.disk:sync_file", 1, "after"),
    ("finkbridge.disk:sync_file", 5, "after"),
    ("finkbridge.disk:Staging.publish", 1, "before"),
    ("finkbridge.disk:make_folders", 1, "after"),
    ("finkbridge.disk:name_file", 1, "after"),
    ("finkbridge.disk:name_file", 3, "after"),
    ("finkbridge.disk:sync_folder", 1, "before"),
    ("finkbridge.disk:sync_folder", 1, "after"),
    ("finkbridge.disk:Staging.publish", 1, "after"),
    (f"{COORDINATOR}.commit_segment", 1, "before"),
    ("finkbridge.ledger.landed:add_part", 1, "after"),
    (f"{COORDINATOR}.commit_segment", 1, "after"),
    (f"{COORDINATOR}.commit_segment", 3, "after"),
    ("finkbridge.broker.client:Broker.tell_group", 1, "before"),
    ("finkbridge.broker.client:Broker.tell_group", 1, "after"),
    ("finkbridge.catalog:_write", 1, "after"),
    ("finkbridge.disk:replace_file", 1, "before"),
    ("finkbridge.catalog:publish", 1, "after"),
    (f"{COORDINATOR}.note_published", 1, "before"),
    (f"{COORDINATOR}.note_published", 1, "after"),
    (f"{COORDINATOR}.begin_merge", 1, "after"),
    ("finkbridge.merge:_sorted_buckets", 1, "after"),
    (f"{COORDINATOR}.commit_merge", 1, "before"),
    (f"{COORDINATOR}.commit_merge", 1, "after"),
    (f"{COORDINATOR}.mark_deleted", 1, "before"),
    (f"{COORDINATOR}.mark_deleted", 1, "after"),
    ("finkbridge.catalog:publish", 2, "before"),
    (f"{COORDINATOR}.note_published", 2, "before"),
    (f"{COORDINATOR}.end_run", 1, "before"),
]
"""Between any two of what a drain makes durable, in its order; files are synced by a thread of their own."""


@pytest.fixture(scope="module")
def topic(kafka: Kafka, shared_data: Path) -> str:
    """Two partitions of real alerts, with a hole and a message that is none."""
    name = kafka.topic("fink_crash_ztf", partitions=2, config=KEPT)
    records = real_alerts(shared_data / "ztf").records
    times = [1_774_000_000_000 + i for i in range(len(records))]
    kafka.produce(name, records[:10], partition=0, timestamps=times[:10])
    kafka.produce(name, [(records[0][0], b"garbage")], partition=0, timestamps=[1_774_000_000_010])
    kafka.produce_transaction(name, records[10:12], commit=False, partition=0)
    kafka.produce(name, records[12:], partition=1, timestamps=times[12:])
    return name


def settings_of(lake: Path, kafka: Kafka, topic: str, **more: Any) -> Settings:
    """Small segments, so that there are several plans; small nights, so that two files are many."""
    merging = {"files": 2, "grace_s": 0}
    return make_settings(
        lake, kafka.bootstrap, topic, drain={"segment_bytes": 600_000}, merge=merging, **more
    )


@pytest.fixture(scope="module")
def reference(kafka: Kafka, topic: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("reference") / "lake"
    report = drained(settings_of(lake, kafka, topic))
    assert report.total("quarantined") == 1
    assert report.total("holes") == 3
    assert len(ledger_rows(lake, s.plans)) >= 3
    assert {c.kind for c in ledger_rows(lake, s.commits)} == {"drain", "merge"}
    forget_landers()
    assert_consistent(lake)
    return lake


def content(lake: Path) -> dict[str, Any]:
    """Return all that a lake says, but for times, plan numbers and merged files' names."""
    segments = (
        "cluster, topic, generation, kafka_partition, start_offset, end_offset, rows, quarantined, holes"
    )
    return {
        "deliveries": sql(
            lake, "SELECT * EXCLUDE archive_file FROM deliveries ORDER BY kafka_partition, kafka_offset"
        ),
        "packets": sql(
            lake, "SELECT COLUMNS(*)::VARCHAR FROM packets_ztf ORDER BY _kafka_partition, _kafka_offset"
        ),
        "segments": sql(lake, f"SELECT {segments} FROM segments ORDER BY ALL"),
        "quarantine": sql(lake, "SELECT * EXCLUDE path FROM quarantine ORDER BY ALL"),
        "archive": sorted(f.checksum for f in ledger_rows(lake, s.files) if f.table == "archive"),
        "topics": sql(lake, "SELECT * FROM topics"),
    }


def start(target: Callable[..., None], *args: Any) -> Any:
    process = FORK.Process(target=target, args=args)
    process.start()
    return process


def killed(settings: Settings, function: str, nth: int, when: str) -> None:
    killed_at((function, nth, when), drain, settings)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "nth", "when"), STEPS, ids=lambda v: str(v).rpartition(":")[2])
def test_killed_at_a_step_and_run_again(
    kafka: Kafka, topic: str, reference: Path, tmp_path: Path, step: str, nth: int, when: str
) -> None:
    lake = tmp_path / "lake"
    settings = settings_of(lake, kafka, topic)
    killed(settings, step, nth, when)
    drained(settings)
    assert_consistent(lake)
    assert content(lake) == content(reference)
    assert drained(settings).total("planned") == 0
    assert {run.state for run in ledger_rows(lake, s.runs)} <= {"succeeded", "dead"}


@pytest.mark.slow
def test_killed_again_and_again(kafka: Kafka, topic: str, reference: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    settings = settings_of(lake, kafka, topic)
    for step, when in (("add_plans", "after"), ("commit_segment", "before"), ("commit_segment", "after")):
        killed(settings, f"{COORDINATOR}.{step}", 1, when)
    killed(settings, "finkbridge.disk:name_file", 1, "before")
    drained(settings)
    assert_consistent(lake)
    assert content(lake) == content(reference)


def test_files_that_a_dead_run_left_otherwise_are_not_in_the_way(kafka: Kafka, tmp_path: Path) -> None:
    """As where another version of a library writes other bytes: the offsets land under another number."""
    lake, topic = tmp_path / "lake", kafka.topic("fink_otherwise_ztf")
    kafka.produce(topic, points(*range(3)))
    settings = make_settings(lake, kafka.bootstrap, topic)
    killed(settings, f"{COORDINATOR}.commit_segment", 1, "before")
    (left,) = (path for path in data_files(lake) if path.startswith("deliveries/"))
    (lake / left).write_bytes((lake / left).read_bytes() + b"x")
    drained(settings)
    assert_consistent(lake)
    assert_verified(lake)
    assert [o for _, _, o in offsets(lake)] == [0, 1, 2]
    assert [plan.state for plan in ledger_rows(lake, s.plans)] == ["abandoned", "committed"]


GIVING_UP = [
    ("expire", "finkbridge.salvage:_landed", 1, "after"),
    ("expire", f"{COORDINATOR}.commit_segment", 1, "before"),
    ("expire", f"{COORDINATOR}.commit_segment", 1, "after"),
    ("expire", f"{COORDINATOR}.abandon", 1, "after"),
    ("expire", "finkbridge.retire:delete_landed", 1, "after"),
    ("expire", f"{COORDINATOR}.commit_gap", 1, "before"),
    ("expire", f"{COORDINATOR}.commit_gap", 1, "after"),
    ("expire", f"{COORDINATOR}.add_plans", 1, "after"),
    ("recreate", "finkbridge.salvage:_landed", 1, "after"),
    ("recreate", f"{COORDINATOR}.commit_segment", 1, "before"),
    ("recreate", f"{COORDINATOR}.commit_segment", 1, "after"),
    ("recreate", f"{COORDINATOR}.give_up", 1, "before"),
    ("recreate", f"{COORDINATOR}.give_up", 1, "after"),
    ("recreate", "finkbridge.retire:delete_landed", 1, "after"),
    ("recreate", f"{COORDINATOR}.add_generation", 1, "after"),
]
"""Between any two of what a drain makes durable when the plans of a dead one cannot be finished."""


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "step", "nth", "when"), GIVING_UP, ids=lambda v: str(v).rpartition(":")[2])
def test_killed_while_it_salvages_and_gives_plans_up(
    kafka: Kafka, tmp_path: Path, loss: str, step: str, nth: int, when: str
) -> None:
    lake, topic = tmp_path / "lake", kafka.topic("fink_given_up_ztf")
    settings = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 200_000})
    kafka.produce(topic, points(*range(10)))
    killed(settings, f"{COORDINATOR}.commit_segment", 1, "before")
    landed = {path: (lake / path).read_bytes() for path in data_files(lake)}
    assert landed, "the first plan, of two messages, has landed, and is not committed"
    if loss == "expire":
        kafka.expire(topic, {0: 6})
    else:
        kafka.recreate(topic)
        kafka.produce(topic, points(*range(4)))
    killed(settings, step, nth, when)
    drained(settings)
    generation, first, end = (1, 6, 6) if loss == "expire" else (2, 0, 10)
    assert [gap[:4] for gap in gaps(lake)] == [(1, 0, 2, end)]
    came = [(generation, 0, o) for o in range(first, first + 4)]
    assert offsets(lake) == [(1, 0, 0), (1, 0, 1), *came]
    assert {path: (lake / path).read_bytes() for path in landed} == landed
    assert_verified(lake, prune=True)
    assert_consistent(lake)


def run_task_but_die_once(given: workers.Task) -> Any:
    """Land a plan; the first worker that is asked to is killed instead."""
    try:
        (given.lake / "died").touch(exist_ok=False)
    except FileExistsError:
        return workers.run_task(given)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def run_task_for_ever(given: workers.Task) -> Any:
    """Leave a file half written, tell the process id, and never end."""
    (given.lake / ".scratch").mkdir(exist_ok=True)
    (given.lake / ".scratch" / f"half-{os.getpid()}").write_text("half")
    (given.lake / f"worker-{os.getpid()}").touch()
    time.sleep(600)


def drain_for_ever(settings: Settings) -> None:
    execution.run_task = run_task_for_ever  # type: ignore[assignment]
    drain(settings)


@pytest.mark.slow
def test_killed_worker_costs_nothing(
    kafka: Kafka, topic: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    settings = settings_of(lake, kafka, topic, workers=2)
    monkeypatch.setattr(execution, "run_task", run_task_but_die_once)
    assert drained(settings).total("quarantined") == 1
    (lake / "died").unlink()
    assert_consistent(lake)
    assert content(lake) == content(reference)


@pytest.mark.slow
def test_workers_die_with_their_coordinator(
    kafka: Kafka, topic: str, reference: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    coordinator = start(drain_for_ever, settings_of(lake, kafka, topic, workers=2))
    pids = wait_for(lambda: found if len(found := list(lake.glob("worker-*"))) == 2 else [], 60)
    os.kill(coordinator.pid, signal.SIGKILL)
    coordinator.join()
    wait_for(lambda: not any(is_alive(int(p.name.removeprefix("worker-"))) for p in pids), 10)
    for path in pids:
        path.unlink()
    assert [p for p in data_files(lake) if "half" in p]
    drained(settings_of(lake, kafka, topic))
    assert_consistent(lake)
    assert content(lake) == content(reference)


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_land_the_same_lake(kafka: Kafka, topic: str, reference: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    drained(settings_of(lake, kafka, topic, workers=2))
    assert_consistent(lake)
    assert content(lake) == content(reference)
    assert alive_files(lake) == alive_files(reference)
