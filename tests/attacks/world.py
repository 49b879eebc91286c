"""A lake under attack: real commands in real processes, and the judgement at the end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from finkbridge.verify import verify
from tests.attacks import victim
from tests.attacks.compare import Content, Place, compare, read_topic
from tests.attacks.rows import Row
from tests.support.kafka import Kafka, Record
from tests.support.lake import POINT, encode

LONGEST_S = 150
"""No command may take longer, whatever is done to it."""
TIMEOUT_S = 2.0
"""How long the commands wait for a broker."""
SETTINGS = {
    "FINKBRIDGE_WORKERS": "0",
    "FINKBRIDGE_BROKER_TIMEOUT_S": str(TIMEOUT_S),
    "FINKBRIDGE_DRAIN__SEGMENT_BYTES": "200kB",  # three messages: several plans a topic
}
BAD: Record = (None, b"no alert")
"""A message for the quarantine."""
COMPLAINTS = ("finkbridge: problem: ", "finkbridge: error: ")


class Attempt(NamedTuple):
    """A command that came to its end."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def complaints(self) -> list[str]:
        """Return the lines that tell of a failure."""
        return [line for line in self.err.splitlines() if line.startswith(COMPLAINTS)]


Command = tuple[victim.Plan, Sequence[str], dict[str, str], Path, tuple[Path, Path]]


class Running:
    """A command at work, in a process that has all modules loaded."""

    def __init__(self, what: Command) -> None:
        *_, self.said = what
        self._began = time.monotonic()
        self._process = victim.FORK.Process(target=victim.be, args=what)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid or 0)

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self._began

    def wait(self, seconds: float) -> int | None:
        """Return its exit code; None if it is still at work."""
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self) -> None:
        """End it, if it is still at work."""
        self._process.kill()
        self._process.join()


class Fresh(Running):
    """A command in a Python of its own, whose children have its limits."""

    def __init__(self, what: Command, files: int) -> None:
        plan, arguments, environ, folder, self.said = what
        self._began = time.monotonic()
        out, err = (path.open("wb") for path in self.said)
        with out, err:
            limited = f'ulimit -n {files} && exec "$@"'
            self._fresh = subprocess.Popen(
                ["sh", "-c", limited, "sh", sys.executable, "-m", victim.__name__, str(plan), *arguments],
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )

    def wait(self, seconds: float) -> int | None:
        """Return its exit code; None if it is still at work."""
        with suppress(subprocess.TimeoutExpired):
            return self._fresh.wait(seconds)
        return None

    def kill(self) -> None:
        """End it, if it is still at work."""
        self._fresh.kill()
        self._fresh.wait()


class World:
    """One lake and one broker.

    Parameters
    ----------
    folder
        Home and working folder; the lake is ``lake`` in it.
    kafka
        The broker.
    row
        Where the result goes.
    """

    def __init__(self, folder: Path, kafka: Kafka, row: Row) -> None:
        self.folder, self.kafka, self.row = folder, kafka, row
        self.lake = folder / "lake"
        self.url: str | None = None
        self.expected: dict[Place, Content] = {}
        self.gone: set[Place] = set()
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")}
        self.environ |= {**SETTINGS, "HOME": str(folder), "PYTHONWARNINGS": "error"}
        self.set(CLUSTERS__ZTF__SERVERS=kafka.bootstrap)
        self._numbers = iter(range(1, 10_000))

    def set(self, **settings: object) -> None:
        """Change settings of the commands to come."""
        self.environ |= {f"FINKBRIDGE_{name}": str(value) for name, value in settings.items()}

    def topic(self, messages: int = 10, partitions: int = 1, **config: str) -> str:
        """Create a topic and fill each partition; one message in each is bad."""
        topic = self.kafka.topic("attacked", partitions, {k.replace("_", "."): v for k, v in config.items()})
        for partition in range(partitions):
            self.produce(topic, messages, partition)
        return topic

    def produce(self, topic: str, messages: int, partition: int = 0, padding: int = 0) -> None:
        """Write messages that no other has, the second of them a bad one; remember them."""
        records = [record(next(self._numbers), padding) for _ in range(messages)]
        records[1:2] = [BAD] * len(records[1:2])
        self.kafka.produce(topic, records, partition, headers=[("origin", b"test")])

    def remember(self, topic: str, generation: int = 1) -> None:
        """Expect all that a topic has now, whatever becomes of it at the broker."""
        self.expected |= read_topic(self.kafka.bootstrap, topic, generation)

    def lose(self, topic: str, partition: int, start: int, end: int, generation: int = 1) -> None:
        """Expect a gap in the place of messages that the broker no longer has."""
        places = {Place(topic, generation, partition, offset) for offset in range(start, end)}
        self.gone |= places
        self.expected = {place: c for place, c in self.expected.items() if place not in places}

    def run(self, *arguments: str, plan: victim.Plan | None = None, files: int | None = None) -> Attempt:
        """Run a command to its end, with so many open files at most."""
        with self.started(*arguments, plan=plan, files=files) as running:
            return self.end(running)

    def end(self, running: Running) -> Attempt:
        """Wait for a command's end, which must come in time, and take what it said."""
        code = running.wait(LONGEST_S)
        attempt = Attempt(code, *(path.read_text() for path in running.said), running.seconds)
        assert code is not None, f"it hangs: {attempt}"
        assert "Traceback" not in attempt.out + attempt.err, attempt.err
        self.row.longest_s = max(self.row.longest_s, round(attempt.seconds, 1))
        return attempt

    @contextmanager
    def started(
        self, *arguments: str, plan: victim.Plan | None = None, files: int | None = None
    ) -> Iterator[Running]:
        """Start a command, and kill it at the latest when the block ends."""
        for name in (victim.REACHED, victim.GO):
            (self.folder / name).unlink(missing_ok=True)
        number = next(self._numbers)
        said = self.folder / f"out-{number}", self.folder / f"err-{number}"
        what = (plan or victim.Plan(), arguments, self.environ, self.folder, said)
        running = Running(what) if files is None else Fresh(what, files)
        try:
            yield running
        finally:
            running.kill()

    @contextmanager
    def halted(self, step: str, *arguments: str, **more: Any) -> Iterator[Running]:
        """Start a command and yield it when it has come to a step, where it halts until it is told to go."""
        plan = victim.Plan(step, folder=str(self.folder), **more)
        with self.started(*arguments, plan=plan) as running:
            until = time.monotonic() + LONGEST_S
            while not (self.folder / victim.REACHED).exists():
                assert running.wait(0.01) is None, [path.read_text() for path in running.said]
                assert time.monotonic() < until, f"it did not come to {step}"
            yield running

    def go(self) -> None:
        """Let the halted command go on."""
        (self.folder / victim.GO).touch()

    def attacked(self, step: str, act: Callable[[], object], *arguments: str, **more: Any) -> Attempt:
        """Run a command, do something to it at one step, and let it come to its end."""
        with self.halted(step, *arguments, **more) as running:
            act()
            self.go()
            return self.end(running)

    def failed(self, attempt: Attempt, line: str, code: int = 1) -> None:
        """Expect that a command failed with one clear line."""
        self.row.tries += 1
        assert attempt.code == code, attempt
        assert len(attempt.complaints) == 1, attempt.err
        (said,) = attempt.complaints
        assert re.search(line, said), said
        self._says(said)

    def warned(self, attempt: Attempt, line: str) -> None:
        """Expect that a command did its work, and said one thing of it."""
        self.row.tries += 1
        assert (attempt.code, attempt.complaints) == (0, []), attempt
        said = [text for text in attempt.err.splitlines() if re.search(line, text)]
        assert len(said) == 1, attempt.err
        self._says(said[0])

    def _says(self, line: str) -> None:
        """Note the line, without what is other in each run."""
        text = re.sub(r"attacked_[0-9a-f]{8}", "TOPIC", line.removeprefix("finkbridge: "))
        text = text.replace(str(self.lake), "LAKE").replace(str(self.folder), "")
        self.row.says = re.sub(r"(process|127\.0\.0\.1:|port) ?\d+", r"\1 N", text)

    def unharmed(self, attempt: Attempt) -> None:
        """Expect that a command did its work as if nothing had been done to it."""
        self.row.tries += 1
        assert (attempt.code, attempt.complaints) == (0, []), attempt
        self.row.says = self.row.says or "(nothing: the run goes on)"

    def recovers(
        self,
        *topics: str,
        deep: bool = False,
        remember: bool = True,
        by: str = "",
        plan: victim.Plan | None = None,
    ) -> dict[str, Any]:
        """Expect that the next plain run carries on, and that the lake has exactly what Kafka had."""
        done = self.run("drain", *topics, "--json", plan=plan)
        assert (done.code, done.complaints) == (0, []), done
        for topic in topics if remember else ():
            self.remember(topic)
        self.judge(deep=deep)
        if deep:
            again = self.run("drain", *topics, "--json", plan=plan)
            assert (again.code, json.loads(again.out)["planned"]) == (0, 0), again
        self.row.recovered, self.row.by = True, by
        return dict(json.loads(done.out))

    def judge(self, *, deep: bool = False) -> None:
        """Compare lake and Kafka, and let finkbridge verify."""
        found = compare(self.lake, self.url, self.expected, self.gone)
        self.row.lost += found.lost
        self.row.doubled += found.doubled
        self.row.wrong += found.wrong
        assert found == (0, 0, 0), found
        if deep:
            verified = self.run("verify", "--deep")
            assert verified.code == 0, verified
        assert verify(self.lake, self.url).findings == []


def record(number: int, padding: int = 0) -> Record:
    """Return a message that no other equals."""
    noise = [{"name": "noise", "type": "bytes"}] if padding else []
    schema = POINT | {"fields": [*POINT["fields"], *noise]}
    value = encode(schema, {"x": float(number), "noise": os.urandom(padding)})
    return json.dumps(schema).encode(), value


@contextmanager
def meanwhile(work: Callable[[], object], after_s: float) -> Iterator[None]:
    """Do something a while after the block began."""
    timer = threading.Timer(after_s, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def note(request: pytest.FixtureRequest, row: Row) -> None:
    """Leave a row for whoever collects them."""
    request.node.user_properties.append(("attack", asdict(row)))
