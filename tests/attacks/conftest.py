"""A broker that may be killed, frozen and reconfigured, and a world for each attack."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.world import Row, World, note
from tests.support.kafka import Kafka
from tests.support.kafka_server import KafkaServer, KafkaUnavailableError
from tests.support.proxy import Proxy

REAUTHENTICATE_MS = 1500
PROPERTIES = f"""
log.cleaner.backoff.ms=100
log.cleaner.min.cleanable.ratio=0.01
listener.name.sasl_plaintext.connections.max.reauth.ms={REAUTHENTICATE_MS}
"""
"""A cleaner that is at work all the time, and connections that must soon prove again who they are."""


@pytest.fixture(scope="session")
def _attacked() -> Iterator[Kafka]:
    try:
        with KafkaServer(properties=PROPERTIES) as server:
            yield Kafka(server.bootstrap, server)
    except KafkaUnavailableError as reason:
        if os.environ.get("CI"):
            pytest.fail(f"no Kafka to attack: {reason}; CI must have one")
        pytest.skip(f"NOT ATTACKED: {reason}")


@pytest.fixture
def attacked(_attacked: Kafka) -> Iterator[Kafka]:
    """Give the broker of all attacks; it is up and well again behind each of them."""
    yield _attacked
    if _attacked.server.is_running:
        _attacked.thaw()
    else:
        _attacked.start()


@pytest.fixture
def world(request: pytest.FixtureRequest, attacked: Kafka, tmp_path: Path) -> Iterator[World]:
    """Give a lake to attack, named by the test's docstring."""
    doc = request.function.__doc__ or request.node.name
    row = Row(doc.splitlines()[0].rstrip("."))
    yield World(tmp_path, attacked, row)
    note(request, row)


@pytest.fixture
def proxy(attacked: Kafka, world: World) -> Iterator[Proxy]:
    """Give a proxy between the commands and the broker."""
    server = attacked.server
    with Proxy(server.proxy, server.behind) as proxy:
        world.set(CLUSTERS__ZTF__SERVERS=f"127.0.0.1:{server.proxy}")
        yield proxy


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """Put the lake on a file system of its own, of 64 MB."""
    world.lake.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(world.lake)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED ON A FULL DISK: only root can mount one")
    yield world.lake
    subprocess.run(["umount", "--lazy", str(world.lake)], check=True)
