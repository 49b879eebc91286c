"""A broker of our own, topics that are written to all the time, and a lake's command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.command import FINKBRIDGE
from tests.support.kafka import Kafka
from tests.support.kafka_server import KafkaServer
from tests.support.lake import KEPT
from tests.torture import MARK
from tests.torture.producer import PARTITIONS

ROOT = Path(__file__).parents[2]
TOPICS = ("fink_torture_a_ztf", "fink_torture_b_ztf", "fink_torture_c_lsst")
LONGEST_S = 1800
SMALL = {
    "FINKBRIDGE_DRAIN__SEGMENT_BYTES": "1MB",
    "FINKBRIDGE_MERGE__FILES": "6",
    "FINKBRIDGE_MERGE__GRACE_S": "5",
}
"""So that little makes many plans, merges and deletions."""


class World:
    """A Kafka with topics; messages come while `producing`."""

    def __init__(self, kafka: Kafka, seed: int) -> None:
        self.kafka = kafka
        self.seed = seed
        mark = uuid.uuid4().hex[:6]
        self.topics = [kafka.topic(f"{name}_{mark}", partitions=PARTITIONS, config=KEPT) for name in TOPICS]

    @contextmanager
    def producing(self, rate: float, kind: str = "transactions") -> Iterator[subprocess.Popen[bytes]]:
        """Have messages sent from a process of its own; all are acknowledged at the end."""
        words = [self.kafka.bootstrap, str(rate), str(self.seed), kind, *self.topics]
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        process = subprocess.Popen(
            [*guard, sys.executable, "-m", "tests.torture.producer", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"producing\n"
            yield process
            assert process.poll() is None, "the producer died"
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class Lake:
    """A lake in a folder of its own, and the processes that work on it."""

    def __init__(self, folder: Path, world: World, settings: Mapping[str, str] = SMALL) -> None:
        self.folder = folder
        self.path = folder / "lake"
        self.mark = folder / "fetching"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FINKBRIDGE_", "DAGSTER_"))}
        self.environ = kept | {
            "FINKBRIDGE_CLUSTERS__ZTF__SERVERS": world.kafka.bootstrap,
            "FINKBRIDGE_CLUSTERS__ZTF__GROUP_ID": folder.name,
            "FINKBRIDGE_CLUSTERS__ZTF__TOPICS": ",".join(world.topics),
            "FINKBRIDGE_LAKE": str(self.path),
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            MARK: str(self.mark),
            **settings,
        }

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; what it says goes to ``said.txt``."""
        self.mark.unlink(missing_ok=True)
        with self.said.open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.torture.watched", *words],
                cwd=self.folder,
                env=self.environ,
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def said(self) -> Path:
        """Return the file of what the last command said."""
        return self.folder / "said.txt"

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run a command with ``--json`` to its end; return its exit code and what it said."""
        done = subprocess.run(
            [FINKBRIDGE, *words, "--json"],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
        with suppress(ValueError):
            return done.returncode, json.loads(done.stdout)
        return done.returncode, {"said": done.stdout + done.stderr}


@contextmanager
def torture_world(seed: int) -> Iterator[World]:
    """Start a broker for a world."""
    with KafkaServer() as server:
        yield World(Kafka(server.bootstrap, server), seed)


@contextmanager
def lakes(world: World, count: int, settings: Mapping[str, str] = SMALL) -> Iterator[Sequence[Lake]]:
    """Make empty lakes; they are removed at the end unless something went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="finkbridge-torture-"))
    made = [Lake(folder / f"lake{number}", world, settings) for number in range(count)]
    for lake in made:
        lake.folder.mkdir()
    try:
        yield made
    except BaseException:
        print(f"the lakes are kept in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
