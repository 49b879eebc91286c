"""`finkbridge.AlertConsumer` on a real Kafka: fink-client's signature, and nothing lost."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

import finkbridge
from finkbridge import AlertConsumer
from finkbridge.broker import poller as poller_module
from finkbridge.broker.assignment import Assignment
from finkbridge.errors import (
    AlertExistsError,
    AuthenticationError,
    BrokerError,
    DecodeError,
    RegistryError,
    SaveError,
    SettingsError,
    UnknownTopicError,
    UnreachableError,
)
from tests.consumer.samples import (
    COUNTING,
    ELASTICC,
    MULTI_MESSENGER,
    encode,
    offsets_read,
    real,
    record,
    simulated,
    values_of,
)
from tests.support.kafka import Kafka

pytestmark = pytest.mark.kafka

WAIT_S = 30.0
SHORT_S = 1.5
Config = dict[str, Any]


def filled(kafka: Kafka, records: list[Any], prefix: str = "fink_t", partitions: int = 1) -> str:
    topic = kafka.topic(prefix, partitions)
    for number, one in enumerate(records):
        kafka.produce(topic, [one], partition=number % partitions)
    return topic


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_real_alerts_come_whole_in_order_and_once(
    kafka: Kafka, config: Config, shared_data: Path, survey: str
) -> None:
    records = real(shared_data, survey)
    topic = filled(kafka, records)
    with AlertConsumer([topic], config, survey) as consumer:
        found = [consumer.poll(WAIT_S) for _ in records]
        assert consumer.poll(SHORT_S) == (None, None, None)
    (file,) = (shared_data / survey).glob("*.avro")
    assert [repr(alert) for _, alert, _ in found] == [repr(alert) for alert in values_of(file)]
    assert {found[0].topic} == {topic}
    assert found[0].key == records[0][0].decode()  # type: ignore[union-attr]


def test_a_poll_gives_a_tuple_of_three(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("ztf", 1))
    consumer = AlertConsumer([topic], config)
    found, alert, key = consumer.poll(WAIT_S)
    assert (found, alert["publisher"]) == (topic, "Fink")  # type: ignore[index]
    assert json.loads(key or "")["type"] == "record"
    consumer.close()


def test_consume_gives_what_there_is_in_time(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("ztf", 5))
    with AlertConsumer([topic], config) as consumer:
        first = consumer.consume(3, WAIT_S)
        rest = consumer.consume(num_alerts=10, timeout=SHORT_S)
        assert (len(first), len(rest)) == (3, 2)
        assert len({alert["candid"] for _, alert, _ in first + rest}) == 5  # type: ignore[index]
        assert consumer.consume(10, SHORT_S) == []


def test_the_next_consumer_goes_on_with_the_next_alert(kafka: Kafka, config: Config) -> None:
    records = simulated("ztf", 6)
    topic = filled(kafka, records)
    seen = []
    for _ in range(3):
        with AlertConsumer([topic], config) as consumer:
            seen += [consumer.poll(WAIT_S).alert["candid"] for _ in range(2)]  # type: ignore[index]
    assert len(set(seen)) == 6
    assert offsets_read(kafka, config["group.id"], topic) == [6]


def test_what_was_being_handled_when_the_script_failed_comes_again(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("ztf", 3))
    with AlertConsumer([topic], config) as consumer:
        consumer.poll(WAIT_S)
    failed: list[Any] = []

    def script() -> None:
        with AlertConsumer([topic], config) as consumer:
            failed.append(consumer.poll(WAIT_S))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        script()
    with AlertConsumer([topic], config) as consumer:
        assert consumer.poll(WAIT_S) == failed[0]


def failing_at(consumer: AlertConsumer, part: str, name: str, call: int, error: BaseException) -> None:
    """Let one call of what the consumer works with fail, after it did its work."""
    owner = getattr(consumer._session, part)
    real, calls = getattr(owner, name), itertools.count(1)

    def failing(*args: Any) -> Any:
        found = real(*args)
        if next(calls) == call:
            raise error
        return found

    setattr(owner, name, failing)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokerError("gone")])
def test_what_consume_took_and_never_gave_is_not_handled(
    kafka: Kafka, config: Config, error: BaseException
) -> None:
    topic = filled(kafka, simulated("ztf", 5))
    consumer = AlertConsumer([topic], config)
    given = consumer.consume(1, WAIT_S)
    failing_at(consumer, "opener", "open", 4, error)
    with pytest.raises(type(error)):
        consumer.consume(4, WAIT_S)  # it stops at the fourth of these
    consumer.close()
    assert offsets_read(kafka, config["group.id"], topic) == [1]
    with AlertConsumer([topic], config) as consumer:
        given += consumer.consume(4, WAIT_S)
    assert len({alert["candid"] for _, alert, _ in given if alert}) == 5


class Interrupted:
    """Confluent_kafka's consumer, and Ctrl-C comes while every n-th message is taken."""

    def __init__(self, consumer: Any, every: int = 3) -> None:
        self._consumer, self._turn, self._every = consumer, itertools.count(1), every

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout_s: float) -> Any:
        taken = self._consumer.poll(timeout_s)
        if taken is not None and next(self._turn) % self._every == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return taken


@pytest.mark.parametrize("place", ["taken", "gathered"])
def test_ctrl_c_in_the_middle_of_a_call_passes_over_nothing(
    kafka: Kafka, config: Config, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A notebook goes on with the same consumer after it."""
    topic = filled(kafka, simulated("ztf", 20), partitions=2)
    found: list[Any] = []
    with AlertConsumer([topic], config, "ztf") as consumer:
        poller = consumer._session.poller
        if place == "taken":
            monkeypatch.setattr(poller, "_consumer", Interrupted(poller._consumer, every=2))
        else:
            turn, whole = itertools.count(1), poller_module._received

            def received(*messages: Any) -> Any:
                if next(turn) % 7 == 0:
                    os.kill(os.getpid(), signal.SIGINT)
                return whole(*messages)

            monkeypatch.setattr(poller_module, "_received", received)
        stopped = 0
        while len(found) < 20:
            try:
                found += consumer.consume(4, WAIT_S)
            except KeyboardInterrupt:
                stopped += 1
        assert stopped > 1
    assert len({alert["candid"] for _, alert, _ in found}) == len(found) == 20
    assert offsets_read(kafka, config["group.id"], topic, 2) == [10, 10]


@pytest.mark.parametrize("offset", [OFFSET_BEGINNING, 3])
def test_ctrl_c_goes_back_to_where_on_assign_began(
    kafka: Kafka, config: Config, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    """Whatever the group has read, and whether or not it is the list that it got."""
    topic = filled(kafka, simulated("ztf", 10))
    with AlertConsumer([topic], config, "ztf") as consumer:
        assert len(consumer.consume(10, WAIT_S)) == 10

    def move(raw: Any, places: Any) -> None:
        raw.assign([TopicPartition(place.topic, place.partition, offset) for place in places])

    with AlertConsumer([topic], config, "ztf", on_assign=move) as consumer:
        poller = consumer._session.poller
        with monkeypatch.context() as patch:
            patch.setattr(poller, "_consumer", Interrupted(poller._consumer, every=1))
            with pytest.raises(KeyboardInterrupt):
                consumer.poll(WAIT_S)
        due = 10 - max(offset, 0)
        assert len({alert["candid"] for _, alert, _ in consumer.consume(due, WAIT_S)}) == due  # type: ignore[index]
        assert consumer.poll(SHORT_S) == (None, None, None)


def test_a_partition_that_moves_soon_after_on_assign_brings_no_alert_twice(
    kafka: Kafka, config: Config
) -> None:
    """librdkafka would go to a first message that has no number once more, half a second later."""
    topic = filled(kafka, simulated("ztf", 20), partitions=2)
    with AlertConsumer([topic], config, "ztf") as consumer:
        assert all(consumer.poll(WAIT_S).topic for _ in range(20))

    def rewind(raw: Any, places: Any) -> None:
        for place in places:
            place.offset = OFFSET_BEGINNING
        raw.assign(places)

    with AlertConsumer([topic], config, "ztf", on_assign=rewind) as consumer:
        found = consumer.consume(1, WAIT_S)
        assignment = consumer._session.poller.assignment
        assert set(assignment._placed.values()) == {0}, "librdkafka is told numbers"
        (taken,) = consumer._fetched
        assignment._move({taken.place: 1})  # as where its next message expired
        while batch := consumer.consume(30, 2 * SHORT_S):
            found += batch
    assert len({alert["candid"] for _, alert, _ in found}) == len(found) == 20  # type: ignore[index]


STRATEGIES = ["range", "cooperative-sticky"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("event", ["revoked", "assigned"])
def test_ctrl_c_while_the_group_changes_loses_and_doubles_nothing(
    kafka: Kafka, config: Config, monkeypatch: pytest.MonkeyPatch, strategy: str, event: str
) -> None:
    """What it interrupts would be librdkafka's callback."""
    real_event, is_due = getattr(Assignment, event), threading.Event()

    def interrupted(self: Assignment, *words: Any) -> None:
        if is_due.is_set():
            is_due.clear()
            os.kill(os.getpid(), signal.SIGINT)
        real_event(self, *words)

    monkeypatch.setattr(Assignment, event, interrupted)
    topic = filled(kafka, simulated("ztf", 40), partitions=2)
    mine = config | {"partition.assignment.strategy": strategy}
    found: list[Any] = []
    with AlertConsumer([topic], mine, "ztf") as one:
        found += [one.poll(WAIT_S) for _ in range(10)]
        is_due.set()
        with AlertConsumer([topic], mine, "ztf") as other:
            stopped, until = 0, time.monotonic() + 60
            while len(found) < 40 or not stopped:
                for consumer in (one, other):
                    try:
                        found += consumer.consume(3, 0.3)
                    except KeyboardInterrupt:
                        stopped += 1
                assert time.monotonic() < until, (len(found), stopped)
            found += [*one.consume(9, SHORT_S), *other.consume(9, SHORT_S)]
    assert len({alert["candid"] for _, alert, _ in found}) == len(found) == 40
    assert offsets_read(kafka, config["group.id"], topic, 2) == [20, 20]


def test_a_broker_that_was_away_for_long_brings_nothing_twice(own_kafka: Kafka) -> None:
    """The group has given the member's partitions up by then, and could not be told what it handled."""
    topic = filled(own_kafka, simulated("ztf", 60))
    config = {"bootstrap.servers": own_kafka.bootstrap, "group.id": "g", "session.timeout.ms": 6000}
    with AlertConsumer([topic], config, "ztf") as consumer:
        found = [consumer.poll(WAIT_S) for _ in range(5)]
        own_kafka.server.kill()
        found += [consumer.poll(WAIT_S) for _ in range(25)]
        until = time.monotonic() + 9
        while time.monotonic() < until:
            consumer._session.poller.poll(0, 0.5)
        own_kafka.server.start()
        while len(found) < 60:
            found.append(consumer.poll(2 * WAIT_S))
        assert consumer.poll(SHORT_S) == (None, None, None)
    assert len({alert["candid"] for _, alert, _ in found}) == 60  # type: ignore[index]
    assert offsets_read(own_kafka, "g", topic) == [60]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_on_assign_leaves_out_is_not_read(kafka: Kafka, config: Config, strategy: str) -> None:
    topic = filled(kafka, simulated("ztf", 6), partitions=2)

    def some(raw: Any, places: Any) -> None:
        mine = [place for place in places if place.partition == 1]
        raw.incremental_assign(mine) if strategy.startswith("coop") else raw.assign(mine)

    mine = config | {"partition.assignment.strategy": strategy}
    with AlertConsumer([topic], mine, "ztf", on_assign=some) as consumer:
        assert len(consumer.consume(3, WAIT_S)) == 3
        assert consumer.poll(SHORT_S) == (None, None, None)
    assert offsets_read(kafka, config["group.id"], topic, 2) == [-1001, 3]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_an_on_assign_that_fails_is_called_again(
    kafka: Kafka, config: Config, strategy: str, error: BaseException
) -> None:
    """The error comes through, and nothing is read from elsewhere in between."""
    topic = filled(kafka, simulated("ztf", 6), partitions=2)
    with AlertConsumer([topic], config, "ztf") as consumer:
        assert all(consumer.poll(WAIT_S).topic for _ in range(6))
    calls = itertools.count(1)

    def rewind(raw: Any, places: Any) -> None:
        if next(calls) == 1:
            raise error
        for place in places:
            place.offset = 1
        raw.assign(places)

    mine = config | {"partition.assignment.strategy": strategy}
    with AlertConsumer([topic], mine, "ztf", on_assign=rewind) as consumer:
        with pytest.raises(type(error)):
            consumer.consume(10, WAIT_S)
        found = [p for _ in range(4) for p in consumer.consume(1, WAIT_S)]
        assert consumer.poll(SHORT_S) == (None, None, None)
    assert len({alert["candid"] for _, alert, _ in found}) == 4  # type: ignore[index]


def test_after_an_error_that_is_not_the_messages_the_same_alerts_come(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("ztf", 6))
    with AlertConsumer([topic], config) as consumer:
        failing_at(consumer, "opener", "open", 1, RegistryError("answers 503: try again"))
        with pytest.raises(RegistryError):
            consumer.poll(WAIT_S)
        given = [consumer.poll(WAIT_S)]
        failing_at(consumer, "opener", "open", 3, RegistryError("answers 503: try again"))
        with pytest.raises(RegistryError):
            consumer.consume(5, WAIT_S)
        given += consumer.consume(5, WAIT_S)
    assert len({alert["candid"] for _, alert, _ in given if alert}) == 6
    assert offsets_read(kafka, config["group.id"], topic) == [6]


def test_an_alert_that_is_not_on_disk_is_not_handled(kafka: Kafka, config: Config, tmp_path: Path) -> None:
    topic = filled(kafka, simulated("ztf", 2))
    consumer = AlertConsumer([topic], config)
    failing_at(consumer, "opener", "name", 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        consumer.poll_and_write(tmp_path, WAIT_S)
    consumer.close()
    assert (list(tmp_path.iterdir()), offsets_read(kafka, config["group.id"], topic)) == ([], [-1001])


def test_where_the_disk_refuses_the_same_alert_comes_again(
    kafka: Kafka, config: Config, tmp_path: Path
) -> None:
    topic = filled(kafka, simulated("ztf", 2))
    outdir = tmp_path / "db"
    outdir.write_text("in the way")
    with AlertConsumer([topic], config) as consumer:
        for _ in range(2):
            with pytest.raises(SaveError):
                consumer.poll_and_write(outdir, WAIT_S)
        outdir.unlink()
        found = [consumer.poll_and_write(outdir, WAIT_S) for _ in range(2)]
    assert len({alert["candid"] for _, alert, _ in found if alert}) == len(list(outdir.iterdir())) == 2


def test_iteration_goes_on_for_ever(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("lsst", 4))
    with AlertConsumer([topic], config) as consumer:
        found = [alert for _, (_, alert, _) in zip(range(4), consumer, strict=False)]
    assert len({alert["diaSourceId"] for alert in found if alert}) == 4


def test_several_topics_and_patterns(kafka: Kafka, config: Config) -> None:
    topics = [filled(kafka, simulated("ztf", 2), f"fink_{config['group.id']}_{n}") for n in "ab"]
    with AlertConsumer([f"fink_{config['group.id']}_*"], config) as consumer:
        found = consumer.consume(4, WAIT_S)
    assert {topic for topic, _, _ in found} == set(topics)


def test_poll_and_write(kafka: Kafka, config: Config, tmp_path: Path, shared_data: Path) -> None:
    topic = filled(kafka, real(shared_data, "lsst"))
    with AlertConsumer([topic], config, survey="lsst") as consumer:
        found = [consumer.poll_and_write(str(tmp_path / "db"), WAIT_S) for _ in range(7)]
    names = sorted(path.name for path in (tmp_path / "db").iterdir())
    assert "2004_JQ12_170094456480989258.avro" in names
    assert "313897383979122767_170094456251351059.avro" in names
    assert len(names) == 7
    (again,) = values_of(tmp_path / "db" / "2004_JQ12_170094456480989258.avro")
    assert repr(again) in {repr(alert) for _, alert, _ in found}


def test_a_file_is_replaced_only_if_asked(kafka: Kafka, config: Config, tmp_path: Path) -> None:
    topic = filled(kafka, simulated("ztf", 1) * 2)
    with AlertConsumer([topic], config) as consumer:
        consumer.poll_and_write(tmp_path, WAIT_S)
        with pytest.raises(AlertExistsError, match="is there already"):
            consumer.poll_and_write(tmp_path, WAIT_S)
        assert consumer.poll_and_write(tmp_path, SHORT_S) == (None, None, None)
    with AlertConsumer([topic], config) as consumer:
        assert consumer.poll_and_write(tmp_path, WAIT_S, overwrite=True).topic == topic
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("schema", "value", "name"),
    [
        (MULTI_MESSENGER, {"objectId": "ZTF1", "candid": 3, "triggerId": "bn26", "rate": 0.1}, "ZTF1_bn26_3"),
        (
            ELASTICC,
            {
                "alertId": 1,
                "diaSource": {
                    "diaSourceId": 5,
                    "diaObjectId": 7,
                    "midPointTai": 60674.05,
                    "filterName": "r",
                    "psFlux": 100.0,
                },
            },
            "7_5",
        ),
        (COUNTING, {"objectId": "ZTF1"}, None),
    ],
)
def test_other_topics(
    kafka: Kafka, config: Config, tmp_path: Path, schema: Any, value: Any, name: str | None
) -> None:
    topic = filled(kafka, [record(schema, value)])
    with AlertConsumer([topic], config) as consumer:
        _, alert, _ = consumer.poll_and_write(tmp_path, WAIT_S)
    (file,) = tmp_path.iterdir()
    assert file.stem == (name or f"{topic}-0-0")
    assert values_of(file) == [alert]


def test_a_message_that_does_not_decode_is_told_once_and_the_rest_comes(kafka: Kafka, config: Config) -> None:
    good = simulated("ztf", 4)
    key, value = good[0]
    topic = filled(kafka, [*good[:2], (key, value[:-3] if value else None), *good[2:]])  # type: ignore[index]
    with AlertConsumer([topic], config) as consumer:
        assert len(consumer.consume(10, WAIT_S)) == 2
        with pytest.raises(DecodeError, match=rf"{topic} partition 0 offset 2: it does not match its writer"):
            consumer.consume(10, WAIT_S)
        assert len(consumer.consume(10, SHORT_S)) == 2


def test_a_wrong_schema_is_one_line_with_the_remedy_and_stays_unread(
    kafka: Kafka, config: Config, tmp_path: Path
) -> None:
    topic = filled(kafka, simulated("ztf", 1))
    wrong, right = tmp_path / "wrong.avsc", tmp_path / "right.avsc"
    wrong.write_text(json.dumps(MULTI_MESSENGER))
    right.write_bytes(simulated("ztf", 1)[0][0] or b"")
    consumer = AlertConsumer([topic], config, "ztf", str(wrong))
    with pytest.raises(DecodeError, match="give the right schema as schema_path"):
        consumer.poll(WAIT_S)
    consumer.close()
    with AlertConsumer([topic], config, schema_path=str(right)) as consumer:
        assert consumer.poll(WAIT_S).alert["publisher"] == "Fink"  # type: ignore[index]


def test_the_schema_is_saved_exactly(
    kafka: Kafka, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = simulated("ztf", 3)
    topic = filled(kafka, records)
    monkeypatch.chdir(tmp_path)
    with AlertConsumer([topic], config, dump_schema=True) as consumer:
        consumer.consume(3, WAIT_S)
        assert consumer.schema is not None
        assert consumer.schema.text == records[0][0]
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == records[0][0]


def test_on_assign_gets_confluent_kafkas_consumer(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, simulated("ztf", 5))

    def last(consumer: Any, partitions: Any) -> None:
        for place in partitions:
            place.offset = consumer.get_watermark_offsets(place)[1] - 1
        consumer.assign(partitions)

    with AlertConsumer([topic], config, "ztf", None, False, last) as consumer:
        assert len(consumer.consume(5, 4 * SHORT_S)) == 1


def test_available_topics_and_brokers(kafka: Kafka, config: Config) -> None:
    topics = [kafka.topic(name, 2) for name in ("fink_sn", "ftransfer_ztf", "fxmatch_ztf", "fink_ztf_2026")]
    consumer = AlertConsumer([], config)
    services = {"livestream": 0, "datatransfer": 1, "xmatch": 2, "stats": 3}
    for service, number in services.items():
        found = consumer.available_topics(service)
        assert found[topics[number]] == 2
        assert not set(found) & {t for t in topics if t != topics[number]}
    assert topics[0] in list(consumer.available_topics().keys())
    assert set(topics) <= set(consumer.available_topics("all"))
    assert list(consumer.available_brokers().values()) == [kafka.bootstrap]
    with pytest.raises(SettingsError, match="is no service"):
        consumer.available_topics("nope")
    consumer.close()


def test_no_topic_of_the_name(config: Config) -> None:
    with pytest.raises(UnknownTopicError, match="has no topic fink_nope"):
        AlertConsumer(["fink_nope"], config)
    with pytest.raises(UnknownTopicError, match=r"no topic that matches fink_nope_\*"):
        AlertConsumer(["fink_nope_*"], config)


PASSWORDS: list[dict[str, Any]] = [
    {"username": "fink", "password": "correct-horse"},
    {"sasl.username": "fink", "sasl.password": "correct-horse"},
    {
        "sasl.username": "fink",
        "sasl.password": "correct-horse",
        "username": "other",
        "password": None,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
    },
]
NO_PASSWORDS: list[dict[str, Any]] = [
    {},
    {"username": "me"},
    {"username": "me", "password": None},
    {"username": "me", "password": ""},
    {"sasl.username": "me", "sasl.password": None},
]


@pytest.mark.parametrize("said", PASSWORDS)
def test_with_a_password(kafka: Kafka, config: Config, said: Config) -> None:
    topic = filled(kafka, simulated("ztf", 1))
    with AlertConsumer([topic], config | {"bootstrap.servers": kafka.sasl_bootstrap} | said) as consumer:
        assert consumer.poll(WAIT_S).topic == topic


@pytest.mark.parametrize("said", NO_PASSWORDS)
def test_without_a_password(kafka: Kafka, config: Config, said: Config) -> None:
    topic = filled(kafka, simulated("ztf", 1))
    with AlertConsumer([topic], config | said) as consumer:
        assert consumer.poll(WAIT_S).topic == topic


def test_a_wrong_password_is_told_and_never_shown(kafka: Kafka, config: Config) -> None:
    said = {"bootstrap.servers": kafka.sasl_bootstrap, "username": "fink", "password": "hunter2-wrong"}
    with pytest.raises(AuthenticationError, match="the credentials are refused") as caught:
        AlertConsumer(["any"], config | said)
    assert "hunter2" not in str(caught.value)


def test_a_password_where_none_is_wanted_says_to_leave_it_out(kafka: Kafka, config: Config) -> None:
    with pytest.raises(AuthenticationError, match=r"leave it out \(set it to null\)"):
        AlertConsumer(["any"], config | {"username": "fink", "password": "correct-horse"})


def test_nobody_there_is_told_soon(config: Config) -> None:
    with pytest.raises(UnreachableError, match="no broker answers"):
        AlertConsumer(["any"], config | {"bootstrap.servers": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"group.id": "g"}, "no bootstrap.servers"),
        ({"bootstrap.servers": "a:1"}, "no group.id"),
        ({"bootstrap.servers": "a", "group.id": "g"}, "servers: write host:port"),
        ({"bootstrap.servers": "a:1", "group.id": "g", "password": "s3cret"}, "a password and no username"),
        ({"bootstrap.servers": "a:1", "group.id": "g", "nope.key": "s3cret"}, "librdkafka refuses"),
        ({"bootstrap.servers": "a:1", "group.id": "g", "ssl.key.password": ["s3cret"]}, "kafka"),
    ],
)
def test_a_bad_config_is_one_line_without_secrets(config: Config, text: str) -> None:
    with pytest.raises(SettingsError, match=text) as caught:
        AlertConsumer(["t"], config)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_version_key_and_a_folder_of_schemas(kafka: Kafka, config: Config, tmp_path: Path) -> None:
    value = {"objectId": "ZTF1", "candid": 4, "triggerId": "x"}
    topic = filled(kafka, [(b"2.5_3.5.3", encode(MULTI_MESSENGER, value))])
    (tmp_path / "distribution_schema_fink_ztf_2.5_3.5.3.avsc").write_text(json.dumps(MULTI_MESSENGER))
    with AlertConsumer([topic], config | {"schema_folder": str(tmp_path)}) as consumer:
        assert consumer.poll(WAIT_S).alert["candid"] == 4  # type: ignore[index]


def test_the_companion_topic_has_the_schema(kafka: Kafka, config: Config) -> None:
    topic = filled(kafka, [(None, encode(COUNTING, {"objectId": "ZTF9"}))])
    kafka._topics[f"{topic}_schema"] = type(kafka._topics[topic])(f"{topic}_schema", 1)
    kafka._create(f"{topic}_schema")
    kafka.produce(f"{topic}_schema", [(json.dumps(COUNTING).encode(), b"x")])
    with AlertConsumer([topic], config) as consumer:
        assert consumer.poll(WAIT_S).alert == {"objectId": "ZTF9"}


MANUAL = """
    import time
    from finkbridge import AlertConsumer, load_credentials

    def poll_once(myconfig, topics):
        wait = 20
        consumer = AlertConsumer(topics, myconfig)
        topic, alert, key = consumer.poll(wait)
        if topic is not None:
            print(time.gmtime().tm_year > 2000, topic, alert["objectId"], alert["cdsxmatch"],
                  alert["candidate"]["magpsf"])
        else:
            print("No alerts received in the last {} seconds".format(wait))
        consumer.close()

    conf = load_credentials(survey="ztf")
    myconfig = {"username": conf["username"], "bootstrap.servers": conf["servers"]}
    myconfig["group_id"] = conf["group_id"]
    if conf["password"] is not None:
        myconfig["password"] = conf["password"]
    poll_once(myconfig, conf["mytopics"])
"""


@pytest.mark.parametrize("password", [None, "correct-horse"])
def test_a_script_of_the_manual_works_with_other_imports(
    kafka: Kafka, tmp_path: Path, shared_data: Path, password: str | None
) -> None:
    topic = filled(kafka, real(shared_data, "ztf")[:2])
    from finkbridge.register import register  # noqa: PLC0415

    said = {
        "username": "fink",
        "password": password,
        "group_id": f"g-{topic}",
        "servers": kafka.sasl_bootstrap if password else kafka.bootstrap,
        "mytopics": [topic],
    }
    register(tmp_path / ".finkclient", "ztf", said)
    (tmp_path / "mine.py").write_text(textwrap.dedent(MANUAL))
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "mine.py"],
            env=os.environ | {"HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        told.append(done.stdout)
        assert done.stderr == ""
    assert told[0].startswith(f"True {topic} ZTF")
    assert told[0] != told[1]


def test_importing_finkbridge_stays_light() -> None:
    code = "import sys, finkbridge; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"confluent_kafka", "fastavro", "numpy", "pyarrow"} & set(modules.stdout.split())
    assert set(finkbridge.__all__) >= {"AlertConsumer", "load_credentials", "scan"}
