"""What a broker does to its topics: deletes them, makes them anew, forgets, compacts, holds back."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from finkbridge.avro.archive import read_outline
from finkbridge.broker.embedded import embedded_process
from tests.attacks.compare import Place, read_topic
from tests.attacks.victim import Plan
from tests.attacks.world import World, record
from tests.support.kafka import ANSWER_S, Kafka, Record
from tests.support.lake import points

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

BEFORE_FETCH = "finkbridge.broker.client:Broker.fetch"
BEFORE_COMMIT = "finkbridge.execution:Execution._same_generation"


def test_deleted(world: World) -> None:
    """Topic deleted in mid-run"""
    topic, other = world.topic(), world.topic()
    world.remember(topic)
    world.remember(other)
    done = world.attacked(BEFORE_FETCH, lambda: world.kafka.delete(topic), "drain", topic, nth=3)
    world.failed(done, "was deleted|has no topic|recreated")
    lost = range(landed(world, topic), 10)
    world.lose(topic, 0, lost.start, lost.stop)
    assert len(lost) > 0
    world.recovers(other, remember=False)


def landed(world: World, topic: str) -> int:
    """Return where what has landed of a topic of one partition ends: the next run commits it."""
    archives = (world.lake / "archive" / topic).rglob("*.avro")
    return max(end for path in archives for _, _, end in read_outline(path).facts["planned"])


@pytest.mark.parametrize("messages", [6, 10, 15], ids=["fewer", "equal", "more"])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_recreated(world: World, messages: int, ids: bool) -> None:
    """Topic recreated between runs"""
    plan = Plan(no_topic_ids=not ids)
    topic = world.topic(10)
    world.remember(topic)
    world.unharmed(world.run("drain", topic, plan=plan))
    world.kafka.recreate(topic)
    world.produce(topic, messages)
    world.remember(topic, 2)
    world.unharmed(world.run("drain", topic, plan=plan))
    world.judge()
    world.recovers(topic, remember=False, plan=plan)


def test_recreated_with_a_hole(world: World) -> None:
    """Topic recreated between runs, with a hole where the last message was, and no topic ids"""
    plan = Plan(no_topic_ids=True)
    topic = world.topic(10)
    world.remember(topic)
    world.unharmed(world.run("drain", topic, plan=plan))
    world.kafka.recreate(topic)
    world.kafka.produce_transaction(topic, points(*range(9)))  # its marker is where the last message was
    world.produce(topic, 5)
    world.remember(topic, 2)
    world.unharmed(world.run("drain", topic, plan=plan))
    world.judge()
    world.recovers(topic, remember=False, plan=plan)


def test_recreated_in_mid_run(world: World) -> None:
    """Topic recreated in mid-run"""
    topic = world.topic(10)
    world.remember(topic)

    def recreate() -> None:
        world.kafka.recreate(topic)
        world.produce(topic, 12)

    done = world.attacked(BEFORE_COMMIT, recreate, "drain", topic, nth=2)
    world.failed(done, "recreated during the run")
    world.lose(topic, 0, landed(world, topic), 10)
    world.remember(topic, 2)
    world.recovers(topic, remember=False)


def test_embedded_anew(world: World) -> None:
    """Embedded broker started anew: topics without ids, with fewer, equal and more messages"""
    for generation, messages in enumerate((8, 5, 5, 9), 1):
        with embedded_process() as bootstrap:
            world.set(CLUSTERS__ZTF__SERVERS=bootstrap)
            producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
            for number in range(messages):
                key, value = record(100 * generation + number)
                producer.produce("anew", value, key, partition=0)
            assert producer.flush(ANSWER_S) == 0
            world.unharmed(world.run("drain", "anew"))
            world.expected |= read_topic(bootstrap, "anew", generation)
            world.judge()
            world.recovers("anew", remember=False)


def test_partitions_added(world: World) -> None:
    """Partitions added in mid-run"""
    topic = world.topic()

    def grow() -> None:
        for future in world.kafka._admin.create_partitions([NewPartitions(topic, 4)]).values():
            future.result(ANSWER_S)
        time.sleep(1)
        world.kafka = Kafka(world.kafka.bootstrap, world.kafka.server)  # the old producer knows one partition
        for partition in (1, 3):
            world.produce(topic, 4, partition)

    world.unharmed(world.attacked(BEFORE_FETCH, grow, "drain", topic, nth=2))
    world.recovers(topic)


def test_expired_before_the_plan(world: World) -> None:
    """Retention passed before the plan"""
    topic = world.topic()
    assert world.run("drain", topic, "--max-messages", "4").code == 0
    world.remember(topic)
    world.kafka.expire(topic, {0: 7})
    world.lose(topic, 0, 4, 7)
    world.warned(world.run("drain", topic), "3 offsets were lost before they could be drained")
    world.recovers(topic)


@pytest.mark.parametrize("nth", [1, 3], ids=["first plan", "third plan"])
def test_expired_after_the_plan(world: World, nth: int) -> None:
    """Retention passed between plan and fetch (delete_records)"""
    topic = world.topic(12)
    world.remember(topic)
    done = world.attacked(BEFORE_FETCH, lambda: world.kafka.expire(topic, {0: 8}), "drain", topic, nth=nth)
    if nth > 1 and "were lost" not in done.err:  # they had been read ahead
        world.unharmed(done)
        world.recovers(topic, remember=False)
        return
    first = 3 * (nth - 1)
    world.lose(topic, 0, first, 8)
    world.warned(done, f"{8 - first} offsets were lost before they could be drained")
    world.recovers(topic, remember=False)


def test_aborted(world: World) -> None:
    """Transactions aborted and committed between messages"""
    topic = world.topic(4)
    for number in range(3):
        world.kafka.produce_transaction(topic, points(50 + number, 60 + number), commit=bool(number % 2))
        world.produce(topic, 2)
    world.unharmed(world.run("drain", topic))
    assert world.recovers(topic)["lag"] == 0


def test_open(world: World) -> None:
    """Transaction left open: it holds back what comes behind it"""
    topic = world.topic(4)
    producer = world.kafka.open_transaction(topic, points(50, 51))
    world.produce(topic, 3)
    world.warned(world.run("drain", topic), "5 offsets .* open transaction")
    world.remember(topic)
    world.judge()
    world.warned(world.run("drain", topic), "5 offsets .* open transaction")
    assert "5 offsets wait behind an open transaction" in world.run("status", topic).out
    producer.abort_transaction(ANSWER_S)
    world.kafka.await_end(topic, 10)
    world.recovers(topic)


def keyed(number: int) -> Record:
    """Return a message with a key that one in ten others has."""
    key, value = record(number)
    return (key or b"") + b" " * (number % 10), value


@pytest.mark.parametrize("when", ["before the drain", "between plan and fetch"])
def test_compacted(world: World, when: str) -> None:
    """Compacted topic: cleaned for real"""
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    topic = world.kafka.topic("attacked", 1, config | {"delete.retention.ms": "100"})
    world.kafka.produce(topic, [keyed(n) for n in range(25)])
    world.remember(topic)
    assert world.run("drain", topic, "--max-messages", "5").code == 0
    if when == "before the drain":
        clean(world, topic)
        attempt = world.run("drain", topic)
    else:
        attempt = world.attacked(BEFORE_FETCH, lambda: clean(world, topic), "drain", topic)
    world.unharmed(attempt)
    left = read_topic(world.kafka.bootstrap, topic)
    drained = {place: c for place, c in world.expected.items() if place.offset < 5}
    world.expected = drained | left
    assert world.recovers(topic)["lag"] == 0


def clean(world: World, topic: str) -> None:
    """Write on until Kafka's cleaner has been at work."""
    until = time.monotonic() + 40
    number = 25
    while Place(topic, 1, 0, 14) in read_topic(world.kafka.bootstrap, topic):
        assert time.monotonic() < until, "the cleaner did nothing"
        world.kafka.produce(topic, [keyed(number)])  # a segment is closed by what is written behind it
        number += 1
        time.sleep(0.3)


def test_huge(world: World, attacked: Kafka) -> None:
    """Message of 30 MB between small ones, with a fetch size of 4 MB"""
    topic = world.topic(3, max_message_bytes="40000000")
    producer = Producer({"bootstrap.servers": attacked.bootstrap, "message.max.bytes": 40_000_000})
    key, value = record(1, 30_000_000)
    producer.produce(topic, value, key)
    assert producer.flush(ANSWER_S) == 0
    world.produce(topic, 3)
    world.set(MEMORY_BYTES="1GB", BROKER_TIMEOUT_S="10")
    world.unharmed(world.run("drain", topic))
    world.recovers(topic, deep=True)
    assert max(path.stat().st_size for path in world.lake.glob("archive/**/*.avro")) > 30_000_000
