"""Messages that make native code die or hang cost themselves, and not their run."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finkbridge import execution
from finkbridge.avro.check import Checker
from finkbridge.drain import drain
from finkbridge.ledger import Ledger
from finkbridge.ledger import schema as s
from finkbridge.planning import Planner
from finkbridge.settings import Settings
from tests.hostile.poison import check, run_but_die_once, run_poisoned
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


def texts(*values: str) -> list[Record]:
    return [(json.dumps(TEXT).encode(), encode(TEXT, {"x": value})) for value in values]


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(execution, "run_task", run_poisoned)
    yield
    Checker.check = check  # type: ignore[method-assign]
    forget_landers()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


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


def drain_in_this_process(settings: Settings) -> None:
    execution.run_task = run_poisoned  # type: ignore[assignment]
    drain(settings)


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
