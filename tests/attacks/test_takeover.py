"""Coordinators are attacked: frozen, cut off from their ledger, woken when another has the lake."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from tests.attacks.world import World
from tests.ledger.conftest import database, postgres_server

__all__ = ["database", "postgres_server"]  # fixtures

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STEPS = {
    "before the fetch": ("finkbridge.broker.client:Broker.fetch", 2, "before"),
    "before names are given": ("finkbridge.disk:Staging.publish", 2, "before"),
    "before the commit": ("finkbridge.ledger.coordinator:Coordinator.commit_segment", 2, "before"),
    "before the catalog": ("finkbridge.catalog:publish", 1, "before"),
    "before its swap": ("finkbridge.disk:sync_file", 2, "after"),
}
TAKEN = "another coordinator took this lake over|cannot be written|cannot be used"


@pytest.fixture
def on_postgres(world: World, database: str) -> str:
    world.url = database
    world.set(LEDGER=database)
    return database


def cut_connections(url: str) -> None:
    """End all of the database's connections, as a network that goes away: its locks are free then."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with engine.connect() as connection:
        connection.execute(text(f"{kill} AND datname = current_database()"))
    engine.dispose()


def test_two_at_once(world: World, on_postgres: str) -> None:
    """Two coordinators on one lake (PostgreSQL ledger)"""
    topic = world.topic()
    with world.halted("finkbridge.ledger.coordinator:Coordinator.commit_segment", "drain", topic) as first:
        world.failed(world.run("drain", topic), "is being written by a process on this or another machine")
        world.go()
        assert world.end(first).code == 0
    world.recovers(topic)


@pytest.mark.parametrize("step", STEPS)
def test_woken(world: World, on_postgres: str, step: str) -> None:
    """Coordinator frozen (SIGSTOP), cut off, and woken when another took over (PostgreSQL)"""
    frozen_and_woken(world, step, lambda: cut_connections(on_postgres))


@pytest.mark.parametrize("step", STEPS)
def test_woken_on_sqlite(world: World, step: str) -> None:
    """Coordinator frozen (SIGSTOP) whose lock was lost, and woken when another took over (SQLite)"""
    frozen_and_woken(world, step, (world.lake / "ledger.lock").unlink)


def frozen_and_woken(world: World, step: str, lose_lock: Callable[[], object]) -> None:
    topic = world.topic()
    name, nth, when = STEPS[step]
    with world.halted(name, "drain", topic, nth=nth, when=when) as first:
        os.kill(first.pid, signal.SIGSTOP)
        world.failed(world.run("drain", topic), "is being written by")
        lose_lock()
        assert world.run("drain", topic).code == 0
        world.produce(topic, 3)
        world.go()
        os.kill(first.pid, signal.SIGCONT)
        done = world.end(first)
    world.failed(done, TAKEN)
    world.recovers(topic)
