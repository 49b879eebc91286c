"""The disk is attacked: full at each step, read-only, gone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.world import World

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

COORDINATOR = "finkbridge.ledger.coordinator:Coordinator"
STEPS = {
    "generation": (f"{COORDINATOR}.add_generation", 1),
    "plan": (f"{COORDINATOR}.add_plans", 1),
    "archive": ("finkbridge.disk:Staging.new", 2),
    "tables": ("finkbridge.parquet:write", 1),
    "quarantine": ("finkbridge.avro.quarantine:_to_record", 1),
    "names": ("finkbridge.disk:Staging.publish", 2),
    "commit": (f"{COORDINATOR}.commit_segment", 2),
    "merge": (f"{COORDINATOR}.begin_merge", 1),
    "merged": (f"{COORDINATOR}.commit_merge", 1),
    "catalog": ("finkbridge.catalog:publish", 1),
    "published": (f"{COORDINATOR}.note_published", 1),
    "end": (f"{COORDINATOR}.end_run", 1),
}
MERGING = {"MERGE__FILES": 2, "MERGE__GRACE_S": 0}


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@pytest.mark.parametrize("step", STEPS)
def test_full(world: World, small_disk: Path, step: str) -> None:
    """Disk full"""
    world.set(**MERGING)
    topic = world.topic(8)
    name, nth = STEPS[step]
    done = world.attacked(name, lambda: fill(small_disk), "drain", topic, nth=nth)
    world.failed(done, "full|[Nn]o space left")
    (small_disk / "filler").unlink()
    world.recovers(topic)


def test_full_from_the_start(world: World, small_disk: Path) -> None:
    """Disk full before the first run"""
    topic = world.topic()
    fill(small_disk)
    world.failed(world.run("drain", topic), "full|[Nn]o space left")
    (small_disk / "filler").unlink()
    world.recovers(topic)


@pytest.mark.parametrize("step", ["finkbridge.rebuild.ledger:adopt", "finkbridge.rebuild.tables:_keep"])
def test_full_while_the_ledger_is_made_again(world: World, small_disk: Path, step: str) -> None:
    """Disk full during `rebuild --ledger --replace`"""
    topic = world.topic(8)
    assert world.run("drain", topic).code == 0
    before = world.run("certificate", "--json").out
    done = world.attacked(step, lambda: fill(small_disk), "rebuild", "--ledger", "--replace")
    world.failed(done, "full|[Nn]o space left|disk I/O")
    (small_disk / "filler").unlink()
    assert [path.name for path in world.lake.glob("ledger.db.*")] == []
    assert world.run("certificate", "--json").out == before
    assert world.run("verify").code == 0
    world.recovers(topic)


def test_read_only(world: World, small_disk: Path) -> None:
    """Lake on a file system that became read-only"""
    topic = world.topic()
    assert world.run("drain", topic, "--max-messages", "4").code == 0
    remount(small_disk, "ro")
    world.failed(world.run("drain", topic), "the lake lake cannot be written: give access")
    asked = world.run("sql", "SELECT count(*) FROM deliveries", "--json")
    assert asked.code == 0, "a lake can be read all the same"
    remount(small_disk, "rw")
    world.recovers(topic)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


GONE = {
    "before the fetch": ("finkbridge.broker.client:Broker.fetch", 2),
    "before names are given": ("finkbridge.disk:Staging.publish", 2),
    "before the commit": (f"{COORDINATOR}.commit_segment", 2),
    "before the catalog": ("finkbridge.catalog:publish", 1),
}


def delete(world: World) -> None:
    shutil.rmtree(world.lake)


def move(world: World) -> None:
    world.lake.rename(world.folder / "moved")


@pytest.mark.parametrize("step", GONE)
@pytest.mark.parametrize("act", [delete, move])
def test_lake_gone(world: World, act: Callable[[World], None], step: str) -> None:
    """Lake folder gone in mid-run"""
    topic = world.topic()
    name, nth = GONE[step]
    done = world.attacked(name, lambda: act(world), "drain", topic, nth=nth)
    world.failed(done, "the lake .*lake was moved or deleted while it was in use")
    assert not world.lake.exists()
    if act is move:
        (world.folder / "moved").rename(world.lake)
    world.recovers(topic)
