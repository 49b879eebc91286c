"""The machine is attacked: files, clock, locks, readers, a ledger that is cut short."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.attacks.victim import Plan
from tests.attacks.world import World
from tests.support.lake import sql

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

DAY_S = 86_400.0
COMMIT = "finkbridge.ledger.coordinator:Coordinator.commit_segment"


@pytest.mark.parametrize("workers", [0, 2])
def test_few_files(world: World, workers: int) -> None:
    """Open-file limit 64"""
    topics = [world.topic(2, partitions=2) for _ in range(6)]
    world.set(WORKERS=workers, MERGE__FILES=2, MERGE__GRACE_S=0)
    world.unharmed(world.run("drain", *topics, files=64))
    for topic in topics:
        world.remember(topic)
    world.judge()  # before another run could mend it
    world.recovers(*topics)


def test_too_few_files(world: World) -> None:
    """Open-file limit 28"""
    topics = [world.topic(2, partitions=2) for _ in range(6)]
    world.set(MERGE__FILES=2, MERGE__GRACE_S=0)
    world.failed(world.run("drain", *topics, files=28), "[Tt]oo many open files")
    world.recovers(*topics)


@pytest.mark.parametrize("days", [-1, 1], ids=["back", "forward"])
def test_clock(world: World, days: int) -> None:
    """Clock set wrong by a day between runs"""
    world.set(MERGE__FILES=2)
    topic = world.topic(4)
    for wrong in (0, days, 0):
        world.unharmed(world.run("drain", topic, plan=Plan(clock_s=wrong * DAY_S)))
        world.remember(topic)
        world.judge()
        world.produce(topic, 4)
    world.recovers(topic)
    with closing(sqlite3.connect(world.lake / "ledger.db")) as ledger:
        numbers = ledger.execute("SELECT number, epoch FROM commits ORDER BY number").fetchall()
    assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
    assert [epoch for _, epoch in numbers] == sorted(epoch for _, epoch in numbers)


@pytest.mark.parametrize("when", ["before the run", "before a commit"])
def test_locked(world: World, when: str) -> None:
    """Ledger locked by another program for longer than the busy timeout"""
    topic = world.topic()
    assert world.run("drain", topic, "--max-messages", "3").code == 0
    constants = {"finkbridge.ledger.database:BUSY_TIMEOUT_S": 0.5}
    with closing(sqlite3.connect(world.lake / "ledger.db", check_same_thread=False)) as other:
        other.isolation_level = None

        def lock() -> None:
            other.execute("BEGIN EXCLUSIVE")

        if when == "before the run":
            lock()
            done = world.run("drain", topic, plan=Plan(constants=constants))
        else:
            done = world.attacked(COMMIT, lock, "drain", topic, constants=constants)
        world.failed(done, "the ledger of .* is locked by another program: try again")
        other.execute("ROLLBACK")
    world.recovers(topic)


@pytest.mark.parametrize("left", [0, 0.5, 0.95], ids=["to nothing", "to a half", "by its last pages"])
def test_truncated(world: World, left: float) -> None:
    """Ledger truncated"""
    topic = world.topic()
    assert world.run("drain", topic, "--max-messages", "7").code == 0
    world.remember(topic)
    path = world.lake / "ledger.db"
    os.truncate(path, int(path.stat().st_size * left))
    before = {p: p.read_bytes() for p in world.lake.rglob("*.avro")}
    world.failed(world.run("drain", topic), "finkbridge rebuild --ledger")
    assert {p: p.read_bytes() for p in world.lake.rglob("*.avro")} == before
    assert world.run("verify").code == 1
    rebuild = ["rebuild", "--ledger", *["--replace"] * bool(left)]
    for words in (rebuild, ["verify", "--prune"]):  # the tables are made anew beside the old
        done = world.run(*words)
        assert done.code == 0, done
    world.recovers(topic, by="`finkbridge rebuild --ledger --replace`, `finkbridge verify --prune`")


READER = """
import sys, time, duckdb
from pathlib import Path
catalog, folder = sys.argv[1:]
connection = duckdb.connect(catalog, read_only=True)
connection.execute("SET enable_progress_bar = false")
query = "SELECT x, range FROM packets_other, range(50000)"
began = connection.execute(query)
Path(folder, "reached").touch()
while not Path(folder, "go").exists():
    time.sleep(0.01)
rows = 0
while block := began.fetchmany(100000):
    rows += len(block)
print(rows, connection.execute("SELECT count(*) FROM packets_other").fetchall()[0][0])
"""


def test_reader(world: World) -> None:
    """Catalog held open by a long query during merging and the swap"""
    topic = world.topic(9)
    world.unharmed(world.run("drain", topic, "--max-messages", "6"))
    rows = sql(world.lake, "SELECT count(*) FROM deliveries")[0][0]
    world.set(MERGE__FILES=2)
    program = [sys.executable, "-c", READER, str(world.lake / "catalog.duckdb"), str(world.folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=world.folder) as reader:
        await_file(world.folder / "reached")
        world.unharmed(world.run("drain", topic))
        assert "merge" in kinds(world.lake)
        assert sql(world.lake, "SELECT count(*) FROM deliveries") == [(8,)]
        world.go()
        assert reader.communicate(timeout=60)[0].split() == [str(rows * 50_000), str(rows)]
    world.recovers(topic)


def test_shell(world: World) -> None:
    """Catalog held open for writing by a DuckDB shell during the swap"""
    topic = world.topic(9)
    world.unharmed(world.run("drain", topic, "--max-messages", "6"))
    code = READER.replace("read_only=True", "read_only=False").replace("range(50000)", "range(10)")
    code = code.replace("began =", "connection.execute('CREATE TABLE mine AS SELECT 1 AS x')\nbegan =")
    program = [sys.executable, "-c", code, str(world.lake / "catalog.duckdb"), str(world.folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=world.folder) as shell:
        await_file(world.folder / "reached")
        world.unharmed(world.run("drain", topic))
        world.go()
        shell.communicate(timeout=60)
    assert sql(world.lake, "SELECT count(*) FROM deliveries") == [(8,)]
    world.recovers(topic)


def kinds(lake: Path) -> set[str]:
    """Return the kinds of all commits."""
    with closing(sqlite3.connect(lake / "ledger.db")) as ledger:
        return {kind for (kind,) in ledger.execute("SELECT kind FROM commits")}


def await_file(path: Path) -> None:
    """Wait until another program has made a file."""
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
