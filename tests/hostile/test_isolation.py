"""Messages that make native code die or hang cost themselves, and not their run."""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finkbridge import execution, quarantine
from finkbridge.avro.check import Checker
from finkbridge.cli.main import main
from finkbridge.ledger import Ledger, landed
from finkbridge.ledger import schema as s
from finkbridge.ledger.quarantined import Selection
from finkbridge.planning import Planner
from finkbridge.settings import Settings
from finkbridge.values import LandedPart
from tests.hostile.poison import check, run_but_die_once, run_poisoned, send_poisoned
from tests.support.kafka import Kafka
from tests.support.lake import (
    Record,
    assert_consistent,
    drained,
    encode,
    forget_landers,
    ledger_rows,
    make_settings,
    offsets,
    sql,
)
from tests.support.offline import assert_verified

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TEXT = {"type": "record", "name": "text", "fields": [{"name": "x", "type": "string"}]}
FORK = multiprocessing.get_context("forkserver")
TIMEOUT_S = 1.0
REQUEUE = importlib.import_module("finkbridge.quarantine.requeue")
"""The module: its package has the function by this name."""


def texts(*values: str) -> list[Record]:
    return [(json.dumps(TEXT).encode(), encode(TEXT, {"x": value})) for value in values]


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(execution, "run_task", run_poisoned)
    yield
    Checker.check = check  # type: ignore[method-assign]
    forget_landers()


def settings_of(lake: Path, kafka: Kafka, *topics: str, **more: Any) -> Settings:
    return make_settings(lake, kafka.bootstrap, *topics, worker_timeout_s=TIMEOUT_S, **more)


def quarantined(lake: Path) -> list[tuple[Any, ...]]:
    return sql(lake, "SELECT kafka_partition, kafka_offset, reason FROM quarantine ORDER BY ALL")


def test_messages_that_kill_or_hang_are_found_and_the_rest_lands(kafka: Kafka, lake: Path) -> None:
    bad, good = kafka.topic("bad", partitions=2), kafka.topic("good")
    kafka.produce(bad, texts(*"abcdefg", "KILL", *"ijklmnop", "HANG", "r"), partition=0)
    kafka.produce(bad, texts("s", "EXIT", "u"), partition=1)
    kafka.produce(good, texts(*"vwxyz"))
    settings = settings_of(lake, kafka, bad, good, workers=2)
    report = drained(settings)
    assert (report.total("rows"), report.total("quarantined"), report.total("planned")) == (23, 3, 26)
    assert quarantined(lake) == [
        (0, 7, "kills the decoder: its process was killed by SIGSEGV"),
        (0, 16, "takes longer than 1 s to decode"),
        (1, 1, "kills the decoder: its process ended with exit code 0"),
    ]
    assert_consistent(lake)
    assert_verified(lake)
    assert drained(settings).total("planned") == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_messages_that_nobody_foresaw_are_found_and_the_rest_lands(
    kafka: Kafka, lake: Path, workers: int
) -> None:
    bad, good = kafka.topic("bad", partitions=2), kafka.topic("good")
    kafka.produce(bad, texts(*"abcdefg", "RAISE", *"ijklmnop"), partition=0)
    kafka.produce(bad, texts("RAISE", "q", "PANIC"), partition=1)
    kafka.produce(good, texts(*"vwxyz"))
    report = drained(settings_of(lake, kafka, bad, good, workers=workers))
    assert (report.total("rows"), report.total("quarantined")) == (21, 3)
    reason = "unexpected RuntimeError: odd thing"
    *raised, (partition, offset, panicked) = quarantined(lake)
    assert raised == [(0, 7, reason), (1, 0, reason)]
    assert (partition, offset, panicked[:23]) == (1, 2, "native code panicked: n")
    assert_consistent(lake)
    Checker.check = check  # type: ignore[method-assign]
    assert_verified(lake)


def test_panic_in_a_process_of_its_own_is_told(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("bad")
    kafka.produce(topic, texts("KILL", "PANIC", "c"))
    report = drained(settings_of(lake, kafka, topic, workers=1))
    assert (report.total("rows"), report.total("quarantined")) == (1, 2)
    assert [reason[:22] for _, _, reason in quarantined(lake)] == [
        "kills the decoder: its",
        "native code panicked: ",
    ]


def test_message_that_the_ledger_cannot_hold_costs_itself(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing known gets so far: here the ledger refuses what it has of one offset, whatever that is."""
    add_part = landed.add_part

    def refusing(connection: Any, owner: Any, part: LandedPart) -> None:
        held = any(c.range.partition == 0 and c.range.start <= 5 < c.range.end for c in part.counts)
        if owner.plan.source.topic == bad and held and not part.rejected:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        add_part(connection, owner, part)

    monkeypatch.setattr(landed, "add_part", refusing)
    bad, good = kafka.topic("bad"), kafka.topic("good")
    kafka.produce(bad, texts(*"abcdefghijk"))
    kafka.produce(good, texts(*"xyz"))
    report = drained(settings_of(lake, kafka, bad, good))
    assert (report.total("rows"), report.total("quarantined")) == (13, 1)
    ((_, offset, reason),) = quarantined(lake)
    assert offset == 5
    assert reason.startswith("unexpected UnicodeEncodeError: ")
    assert_consistent(lake)
    assert_verified(lake)


def test_requeue_outlives_what_kills(kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = kafka.topic("again", partitions=2)
    datums = [value for _, value in texts(*"abc", "HANG", "e", "KILL", "g", "RAISE", "i")]
    kafka.produce(topic, [(None, datum) for datum in datums], partition=0)
    kafka.produce(topic, [(None, value) for _, value in texts("later")], partition=1)
    settings = settings_of(lake, kafka, topic)
    assert drained(settings).total("quarantined") == 10
    monkeypatch.setattr(REQUEUE, "send", send_poisoned)
    report = quarantine.requeue(settings, Selection(), json.dumps(TEXT).encode())
    assert (report.landed, report.problems) == (7, [])
    assert [(entry.offset, reason) for entry, reason in report.still] == [
        (3, "takes longer than 1 s to decode"),
        (5, "kills the decoder: its process was killed by SIGSEGV"),
        (7, "unexpected RuntimeError: odd thing"),
    ]
    assert_consistent(lake)
    monkeypatch.undo()
    assert quarantine.requeue(settings, Selection(), json.dumps(TEXT).encode()).landed == 3
    assert len(offsets(lake)) == 10
    assert_consistent(lake)
    Checker.check = check  # type: ignore[method-assign]
    assert_verified(lake)


def drain_in_this_process(settings: Settings) -> None:
    """Do as the command does, whose own signals must not stand in the way of the time limit."""
    execution.run_task = run_poisoned  # type: ignore[assignment]
    os.chdir(settings.lake.parent)
    cluster = settings.clusters["ztf"]
    given = {
        "LAKE": str(settings.lake),
        "WORKERS": str(settings.workers),
        "WORKER_TIMEOUT_S": str(TIMEOUT_S),
        "CLUSTERS__ZTF__SERVERS": cluster.servers,
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")}
    os.environ.clear()
    os.environ.update(kept | {f"FINKBRIDGE_{k}": v for k, v in given.items()} | {"HOME": str(Path.cwd())})
    sys.exit(main(["drain", *cluster.topics]))


def died(target: Callable[..., None], *args: Any) -> int | None:
    process = FORK.Process(target=target, args=args)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.parametrize(("bad", "end"), [("KILL", signal.SIGSEGV), ("HANG", signal.SIGALRM)])
def test_run_that_dies_in_its_own_process_is_carried_on_in_another(
    kafka: Kafka, lake: Path, bad: str, end: signal.Signals
) -> None:
    topic = kafka.topic("dies")
    kafka.produce(topic, texts("a", "b", bad, "d"))
    settings = settings_of(lake, kafka, topic)
    assert settings.workers == 0
    assert died(drain_in_this_process, settings) == -end
    report = drained(settings)
    assert (report.total("rows"), report.total("quarantined")) == (3, 1)
    assert [o for _, _, o in offsets(lake)] == [0, 1, 3]
    assert_consistent(lake)
    assert [run.state for run in ledger_rows(lake, s.runs)] == ["dead", "succeeded"]


def die_at_split(settings: Settings) -> None:
    def dying(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    split = Planner.split

    def once_and_die(self: Planner, plan: Any) -> Any:
        Planner.split = dying  # type: ignore[method-assign, assignment]
        return split(self, plan)

    Planner.split = once_and_die  # type: ignore[method-assign]
    drain_in_this_process(settings)


def test_run_that_is_killed_while_it_searches_is_carried_on(kafka: Kafka, lake: Path) -> None:
    topic = kafka.topic("search")
    kafka.produce(topic, texts(*"abcdefg", "KILL", *"ijklmnop"))
    settings = settings_of(lake, kafka, topic, workers=1)
    assert died(die_at_split, settings) == -signal.SIGKILL
    assert any(plan.state == "abandoned" for plan in ledger_rows(lake, s.plans))
    drained(settings)
    assert [o for _, o, _ in quarantined(lake)] == [7]
    assert len(offsets(lake)) == 15
    assert_consistent(lake)
    with Ledger(lake) as ledger:
        assert ledger.pending_plans() == []


def test_worker_that_has_bad_luck_costs_nothing(
    kafka: Kafka, lake: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(execution, "run_task", run_but_die_once)
    topics = [kafka.topic("luck") for _ in range(3)]
    for topic in topics:
        kafka.produce(topic, texts("a", "b"))
    with caplog.at_level(logging.INFO):
        report = drained(settings_of(lake, kafka, *topics, workers=2))
    (lake / "died").unlink()
    assert (report.total("rows"), report.total("quarantined")) == (6, 0)
    assert {plan.state for plan in ledger_rows(lake, s.plans)} == {"committed"}
    assert_consistent(lake)
