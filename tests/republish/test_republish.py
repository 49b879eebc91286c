"""Messages from the archive back on a real topic: byte for byte, once, whoever dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from finkbridge.broker import Broker
from finkbridge.broker.resumable import Progress, ResumableProducer
from finkbridge.errors import BrokerError, SettingsError, UnreachableError
from finkbridge.ledger.adopt import open_known
from finkbridge.republish.index import Index
from finkbridge.republish.request import Pace, Request, Selection
from finkbridge.republish.run import _paced, republish
from finkbridge.settings import ClusterSettings, Settings
from finkbridge.values import Message, OffsetRange
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT, drained, forget_landers, make_settings, points, real_alerts

pytestmark = pytest.mark.kafka

FIRST_MS = 1_774_000_000_000
FORK = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def topic(kafka: Kafka, shared_data: Path) -> str:
    """Real alerts with headers in two partitions, bad messages among them, and a hole."""
    name = kafka.topic("fink_replay_ztf", 2, KEPT)
    records = real_alerts(shared_data / "ztf").records
    times = [FIRST_MS + 1000 * i for i in range(len(records))]
    kafka.produce(name, records[:20], 0, times[:20], [("a", b"1"), ("a", None)])
    kafka.produce_transaction(name, records[:2], commit=False, partition=0)
    kafka.produce(name, [(b"", b"garbage"), (None, None), (records[0][0], b"")], 0, times[20:23])
    kafka.produce(name, records[20:], 1, times[20:])
    return name


@pytest.fixture(scope="module")
def settings(kafka: Kafka, topic: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    lake = tmp_path_factory.mktemp("replay") / "lake"
    made = make_settings(lake, kafka.bootstrap, topic, drain={"segment_bytes": 400_000})
    assert drained(made).total("quarantined") == 3
    forget_landers()
    return made


@pytest.fixture
def target(kafka: Kafka) -> str:
    """A name of a topic that is not there."""
    name = kafka.topic("replay")
    kafka.delete(name)
    return name


def read(kafka: Kafka, topic: str) -> list[Message]:
    """Return all messages of a topic, by partition and offset."""
    with Broker("ztf", ClusterSettings(servers=kafka.bootstrap)) as broker:
        marks = sorted(broker.watermarks([topic]).items())
        spans = [OffsetRange(p, m.low, m.end) for (_, p), m in marks]
        return [m for span in spans for batch in broker.fetch(topic, span) for m in batch]


def content(messages: list[Message]) -> list[Message]:
    return [m._replace(offset=0) for m in messages]


def request_of(topic: str, target: str, **more: Any) -> Request:
    pace = more.pop("pace", Pace())
    append = more.pop("append", False)
    return Request(Selection(topic, **more), "ztf", target, pace, append)


@pytest.mark.parametrize("where", ["dead", "with a password"])
def test_a_target_that_cannot_be_had_is_told_as_such(
    kafka: Kafka, topic: str, settings: Settings, where: str
) -> None:
    servers = {"dead": "127.0.0.1:1", "with a password": kafka.sasl_bootstrap}[where]
    elsewhere = settings.model_copy(
        update={"clusters": {"ztf": ClusterSettings(servers=servers)}, "broker_timeout_s": 3.0}
    )
    with pytest.raises(UnreachableError, match=r"no broker answers.*whether the cluster wants a password"):
        republish(elsewhere, request_of(topic, "anywhere"))


def test_all_of_a_topic_byte_for_byte(kafka: Kafka, topic: str, settings: Settings, target: str) -> None:
    report = republish(settings, request_of(topic, target))
    assert report.succeeded, report.problems
    assert (report.selected, report.sent, report.found) == (34, 34, 34)
    assert content(read(kafka, target)) == content(read(kafka, topic))
    again = republish(settings, request_of(topic, target))
    assert (again.succeeded, again.before, again.sent, again.hash) == (True, 34, 0, report.hash)
    assert len(read(kafka, target)) == 34


def test_a_topic_that_would_delete_them_is_refused(kafka: Kafka, topic: str, settings: Settings) -> None:
    """It was proved that they are there, and the broker deleted all of them minutes later."""
    week = kafka.topic("replay", config={"retention.ms": str(7 * 86_400_000)})
    with pytest.raises(SettingsError, match=r"keeps messages for 7\.0 days, and some of these"):
        republish(settings, request_of(topic, week))
    assert read(kafka, week) == []


@pytest.mark.parametrize("rate", [None, 1e6])
def test_it_stops_between_any_two_messages(rate: float | None) -> None:
    """Ctrl-C was heeded only where something was waited for."""
    stop, given = threading.Event(), []
    due = ((FIRST_MS, Message(0, offset, FIRST_MS, 1, None, b"", ())) for offset in range(100))
    for message in _paced(due, Pace(rate=rate), stop):
        given.append(message)
        if len(given) == 3:
            stop.set()
    assert len(given) == 3


def test_messages_in_quarantine_stay_in_their_files(kafka: Kafka, tmp_path: Path) -> None:
    topic, size = kafka.topic("fink_bad_ztf", 1, KEPT), 500_000
    sent = [(b"", bytes([number]) * size) for number in range(1, 21)]
    kafka.produce(topic, sent, 0, [FIRST_MS] * len(sent))
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, topic)
    assert drained(settings).total("quarantined") == len(sent)
    forget_landers()
    with open_known(settings.lake) as ledger:
        tracemalloc.start()
        index = Index(ledger, Selection(topic))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert held < 5 * size
    assert [(message.key, message.value) for _, message in index.messages()] == sent
    index.close()


def test_what_is_republished_drains_as_the_original(
    kafka: Kafka, topic: str, settings: Settings, target: str, tmp_path: Path
) -> None:
    assert republish(settings, request_of(topic, target)).succeeded
    report = drained(make_settings(tmp_path / "lake", kafka.bootstrap, target))
    forget_landers()
    assert (report.total("rows"), report.total("quarantined")) == (31, 3)


def test_selected_by_offsets_night_and_object(
    kafka: Kafka, topic: str, settings: Settings, target: str, shared_data: Path
) -> None:
    original = read(kafka, topic)
    spans = (OffsetRange(0, 2, 5), OffsetRange(1, 0, 1))
    assert republish(settings, request_of(topic, target, offsets=spans)).found == 4
    wanted = [
        m for m in original if any(s.partition == m.partition and s.start <= m.offset < s.end for s in spans)
    ]
    assert content(read(kafka, target)) == content(wanted)
    alerts = real_alerts(shared_data / "ztf").alerts
    object_id = alerts[3]["objectId"]
    count = sum(alert["objectId"] == object_id for alert in alerts)
    report = republish(settings, request_of(topic, target, objects=(object_id,), append=True))
    assert (report.succeeded, report.found) == (True, count)
    night = int(time.strftime("%Y%m%d", time.gmtime((alerts[3]["candidate"]["jd"] - 2440587.5) * 86400)))
    of_night = [a for a in alerts if abs(a["candidate"]["jd"] - alerts[3]["candidate"]["jd"]) < 1]
    report = republish(settings, request_of(topic, target, nights=(night,), append=True))
    assert 1 <= report.found <= len(of_night)
    nothing = republish(settings, request_of(topic, target, objects=("'; DROP TABLE", "../x\0")))
    assert nothing.problems == ["nothing of the lake is selected"]


def test_what_comes_later_goes_on(kafka: Kafka, target: str, tmp_path: Path) -> None:
    topic = kafka.topic("fink_more")
    settings = make_settings(tmp_path / "lake", kafka.bootstrap, topic)
    for first in (0, 5):
        kafka.produce(topic, points(*range(first, first + 5)))
        drained(settings)
        assert republish(settings, request_of(topic, target)).sent == 5
    forget_landers()
    assert [m.value for m in read(kafka, target)] == [m.value for m in read(kafka, topic)]


def die_at(settings: Settings, request: Request, name: str, nth: int, when: str) -> None:
    """Republish in small transactions, and be killed at a step."""
    from finkbridge.republish import run as module  # noqa: PLC0415

    module.COMMIT_MESSAGES = 5
    original, calls = getattr(ResumableProducer, name), iter(range(1, 1_000_000))

    def dying(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        if (when, number) == ("before", nth):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if (when, number) == ("after", nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(ResumableProducer, name, dying)
    republish(settings, request)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "nth", "when"),
    [
        ("begin", 1, "after"),
        ("commit", 1, "after"),
        ("send", 3, "after"),
        ("send", 5, "after"),
        ("commit", 2, "before"),
        ("commit", 2, "after"),
        ("send", 13, "before"),
        ("commit", 8, "after"),
    ],
)
def test_killed_and_run_again(
    kafka: Kafka, topic: str, settings: Settings, target: str, name: str, nth: int, when: str
) -> None:
    request = request_of(topic, target)
    process = FORK.Process(target=die_at, args=(settings, request, name, nth, when))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    report = republish(settings, request)
    assert report.succeeded, report.problems
    assert report.before + report.sent == 34
    assert content(read(kafka, target)) == content(read(kafka, topic))


def work_twice(first: ResumableProducer, second: ResumableProducer, target: str, step: str) -> None:
    """Let a second process begin the work that the first is in the middle of."""
    one, done = Message(0, 0, None, 0, None, b"x"), {0: Progress(0, 0, 1)}
    with first:
        first.begin()
        first.send(target, 0, one)
        with second:
            second.begin()
            second.send(target, 0, one)
            second.commit(target, done)
        deadline = time.monotonic() + 20
        while step == "send" and time.monotonic() < deadline:
            first.send(target, 0, one)
        first.commit(target, done)


@pytest.mark.parametrize("step", ["send", "commit"])
def test_one_that_another_process_of_the_same_work_fences_says_so(kafka: Kafka, step: str) -> None:
    target, settings = kafka.topic("replay", 1, KEPT), ClusterSettings(servers=kafka.bootstrap)
    first, second = (ResumableProducer("c", settings, f"job-{target}") for _ in range(2))
    with pytest.raises(BrokerError, match=r"another process does the same work.*run again"):
        work_twice(first, second, target, step)


def test_a_target_that_holds_other_messages_is_refused(
    command: Command, kafka: Kafka, topic: str, settings: Settings
) -> None:
    other = kafka.topic("replay", 2, KEPT)
    kafka.produce(other, points(1))
    words = ["republish", topic, "--to", other, "--servers", kafka.bootstrap, "--lake", str(settings.lake)]
    assert "holds 1 offsets that are not of this work" in command.run(*words, code=2).stderr
    told = command.json(*words, "--append")
    assert (told["succeeded"], told["found"]) == (True, 34)


def test_others_who_write_to_the_target_are_noticed(
    kafka: Kafka, topic: str, settings: Settings, target: str
) -> None:
    assert republish(settings, request_of(topic, target)).succeeded
    kafka.produce(target, points(1), 0)
    report = republish(settings, request_of(topic, target))
    assert "partition 0" in report.problems[0]
    assert "24 messages since this work began, and 23 are selected" in report.problems[0]


def test_a_target_that_sets_its_own_times_is_noticed(kafka: Kafka, topic: str, settings: Settings) -> None:
    other = kafka.topic("replay", 2, KEPT | {"message.timestamp.type": "LogAppendTime"})
    report = republish(settings, request_of(topic, other))
    assert "differs from the archive" in report.problems[0]


def test_at_the_original_pace(kafka: Kafka, topic: str, settings: Settings, target: str) -> None:
    began = time.monotonic()
    pace = Pace(speed=10.0, longest_pause_s=60)
    assert republish(settings, request_of(topic, target, pace=pace)).succeeded
    assert time.monotonic() - began >= 2.9, "30 s of the original, ten times as fast"


def test_at_a_rate(kafka: Kafka, topic: str, settings: Settings, target: str) -> None:
    began = time.monotonic()
    assert republish(settings, request_of(topic, target, pace=Pace(rate=20))).succeeded
    assert time.monotonic() - began >= 33 / 20


@pytest.fixture
def command(kafka: Kafka, tmp_path: Path) -> Command:
    return Command(tmp_path, kafka.bootstrap)


def test_told_to_stop_it_goes_on_later(
    command: Command, kafka: Kafka, topic: str, settings: Settings, target: str
) -> None:
    words = ["republish", topic, "--to", target, "--cluster", "ztf", "--lake", str(settings.lake)]
    with command.start(*words, "--rate", "2") as running:
        running.await_text("of 34 messages")
        assert running.end(signal.SIGINT) == 130
    said = command.run(*words)
    assert "34 messages = 34 in" in said.stdout
    assert content(read(kafka, target)) == content(read(kafka, topic))


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["nowhere", "--to", "x", "--cluster", "ztf"], 2, "has no topic nowhere"),
        (["{topic}", "--to", "{topic}", "--cluster", "ztf"], 2, "is where these messages came from"),
        (["{topic}", "--to", "x"], 2, "--cluster NAME or --servers"),
        (["{topic}", "--to", "x", "--cluster", "ztf", "--speed", "fast"], 2, "is no speed"),
        (["{topic}", "--to", "x", "--cluster", "ztf", "--offsets", "0:5-2"], 2, "is no offset range"),
        (["{topic}", "--to", "x", "--cluster", "ztf", "--night", "20261399"], 2, "is not a night"),
        (["{topic}", "--to", "x", "--cluster", "desi"], 2, "no cluster 'desi'"),
        (["{topic}", "--to", "a b", "--cluster", "ztf"], 1, "a b"),
    ],
)
def test_what_cannot_be_had(
    command: Command, topic: str, settings: Settings, words: list[str], code: int, line: str
) -> None:
    given = [word.format(topic=topic) for word in words]
    said = command.run("republish", *given, "--lake", str(settings.lake), code=code)
    assert line in said.stderr


def test_a_damaged_archive_sends_nothing(command: Command, kafka: Kafka, target: str, tmp_path: Path) -> None:
    topic = kafka.topic("fink_damaged")
    kafka.produce(topic, points(1, 2))
    command.run("drain", topic)
    (file,) = command.lake.rglob("archive/**/*.avro")
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    said = command.run("republish", topic, "--to", target, "--cluster", "ztf", code=1)
    assert "damaged" in said.stderr
    assert json.loads(command.run("config", "--json").stdout)
