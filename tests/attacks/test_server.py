"""The broker itself is attacked: killed, frozen, cut off, slow, and of another mind about a password."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka.admin import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.attacks.conftest import REAUTHENTICATE_MS
from tests.attacks.world import TIMEOUT_S, World, meanwhile
from tests.support.kafka import ANSWER_S, Kafka
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

IN_FETCH = "finkbridge.broker.reader:_messages"
"""Called for each batch of messages."""
SILENT = "no broker answers|no answer while|stopped answering"


LARGE = 250
"""Messages of 20 kB each."""
FEW_AHEAD = {"fetch.message.max.bytes": "200000", "queued.max.messages.kbytes": "1000"}


def large(world: World) -> str:
    """Return a topic of more than the reader takes ahead of what was asked for."""
    topic = world.topic(0)
    world.produce(topic, LARGE, padding=20_000)
    world.set(DRAIN__SEGMENT_BYTES="64MB", CLUSTERS__ZTF__KAFKA=json.dumps(FEW_AHEAD))
    return topic


def test_killed(world: World) -> None:
    """Broker killed in mid-fetch (SIGKILL), restarted after the run"""
    topic = large(world)
    done = world.attacked(IN_FETCH, world.kafka.kill, "drain", topic, nth=2)
    world.failed(done, SILENT)
    world.kafka.start()
    world.kafka.await_end(topic, LARGE)
    world.recovers(topic)


def test_restarted(world: World) -> None:
    """Broker killed in mid-fetch and restarted at once, while the run waits"""
    topic = large(world)
    world.set(BROKER_TIMEOUT_S=30)

    def restart() -> None:
        world.kafka.kill()
        world.kafka.start()

    world.unharmed(world.attacked(IN_FETCH, restart, "drain", topic, nth=2))
    world.recovers(topic)


def test_down_between_plan_and_commit(world: World) -> None:
    """Broker killed when all is fetched, before the commit"""
    topic = world.topic()
    step = "finkbridge.execution:Execution._same_generation"
    world.failed(world.attacked(step, world.kafka.kill, "drain", topic), SILENT)
    world.kafka.start()
    world.kafka.await_end(topic, 10)
    world.recovers(topic)


@pytest.mark.parametrize("step", ["plan", "fetch", "commit"])
def test_frozen(world: World, step: str) -> None:
    """Broker frozen (SIGSTOP) for longer than every timeout"""
    topic = large(world) if step == "fetch" else world.topic()
    where = {
        "plan": ("finkbridge.broker.admin:ClusterAdmin._offsets", 1),
        "fetch": (IN_FETCH, 2),
        "commit": ("finkbridge.execution:Execution._same_generation", 2),
    }
    name, nth = where[step]
    done = world.attacked(name, world.kafka.freeze, "drain", topic, nth=nth)
    assert done.seconds < 6 * TIMEOUT_S + 3
    world.failed(done, SILENT)
    world.kafka.thaw()
    world.kafka.await_end(topic, LARGE if step == "fetch" else 10)
    world.recovers(topic)


def test_cut(world: World, proxy: Proxy) -> None:
    """Connection cut again and again, every 2.5 MB"""
    topic = large(world)
    world.produce(topic, LARGE, padding=20_000)
    proxy.cut_every = 2_500_000  # Kafka never gives less than what came as one batch, up to 1 MB
    world.set(BROKER_TIMEOUT_S=10)
    world.unharmed(world.run("drain", topic))
    assert proxy.cuts >= 2
    world.recovers(topic)


def test_cut_off(world: World, proxy: Proxy) -> None:
    """Network gone in mid-fetch: packets vanish"""
    topic = large(world)
    done = world.attacked(IN_FETCH, proxy.silence, "drain", topic, nth=2)
    world.failed(done, SILENT)
    proxy.resume()
    world.recovers(topic)


def test_slowed(world: World, proxy: Proxy) -> None:
    """Connection slowed to less than one fetch within the timeout"""
    topic = world.topic(0)
    world.produce(topic, 40, padding=60_000)
    proxy.bytes_per_s = 600_000
    world.set(DRAIN__SEGMENT_BYTES="64MB")
    world.unharmed(world.run("drain", topic))
    world.recovers(topic)


def test_withdrawn(world: World, attacked: Kafka) -> None:
    """User deleted in mid-run (SCRAM), and given back"""
    topic = large(world)
    mechanism, user = ScramMechanism.SCRAM_SHA_512, attacked.username
    info = ScramCredentialInfo(mechanism, 4096)

    def alter(change: UserScramCredentialDeletion | UserScramCredentialUpsertion) -> None:
        for future in attacked._admin.alter_user_scram_credentials([change]).values():
            future.result(ANSWER_S)

    def withdraw() -> None:
        alter(UserScramCredentialDeletion(user, mechanism))
        time.sleep(REAUTHENTICATE_MS / 1000 + 1)

    world.set(CLUSTERS__ZTF__SERVERS=attacked.sasl_bootstrap, BROKER_TIMEOUT_S=10)
    world.set(CLUSTERS__ZTF__USERNAME=user, CLUSTERS__ZTF__PASSWORD=attacked.password)
    try:
        done = world.attacked(IN_FETCH, withdraw, "drain", topic, nth=2)
        world.failed(done, "cluster ztf: the credentials are refused")
        world.failed(world.run("drain", topic), "cluster ztf: the credentials are refused")
        assert attacked.password not in done.out + done.err
    finally:
        alter(UserScramCredentialUpsertion(user, info, attacked.password.encode()))
    time.sleep(0.5)
    world.recovers(topic)


def test_restart_under_load(world: World) -> None:
    """Broker restarted in order again and again while messages come and drains run"""
    topic = world.topic(20)
    for _ in range(3):
        with meanwhile(world.kafka.stop, 0.5):
            attempt = world.run("drain", topic)
            world.row.tries += 1
        assert attempt.code in (0, 1), attempt
        assert len(attempt.complaints) == attempt.code
        if attempt.complaints:
            world._says(attempt.complaints[0])
        world.kafka.start()
        world.produce(topic, 5)
    world.recovers(topic, deep=True)
