"""A real Apache Kafka in a process of its own: for the tests and the benchmarks."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

import platformdirs

KAFKA_VERSION = "4.1.0"
START_SECONDS = 60
"""Longest wait for a broker to answer: it takes 2 s alone, more on a crowded machine."""
STOP_SECONDS = 20
QUICK_JVM = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a quick start; a benchmark wants ``-Xmx1g`` and the full compiler."""

# kafka-tools brings the formatter's --add-scram; slf4j-simple is the log binding.
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finkbridge</groupId><artifactId>test-kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version></dependency>
  </dependencies>
</project>
"""

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller},\
BEHIND://127.0.0.1:{behind}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},BEHIND://127.0.0.1:{proxy}
listener.security.protocol.map=\
CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,BEHIND:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=10485760
log.dirs={folder}/log
"""


class KafkaUnavailableError(Exception):
    """This machine cannot run a Kafka of its own; the text says what is missing."""


def jars() -> Path:
    """Return the folder of Kafka's jars, fetched once by Maven into the user's cache."""
    cache = platformdirs.user_cache_path("finkbridge") / "kafka"
    folder = cache / KAFKA_VERSION
    if folder.is_dir():
        return folder
    if not shutil.which("mvn"):
        raise KafkaUnavailableError("Maven (mvn) is not there to fetch Kafka's jars")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch_jars(folder)
    return folder


def _fetch_jars(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as work:
        Path(work, "pom.xml").write_text(POM)
        options = ["-DoutputDirectory=libs", "-DincludeScope=runtime"]
        done = _run(["mvn", "-q", "-B", "dependency:copy-dependencies", *options], work)
        if done.returncode:
            raise KafkaUnavailableError(f"Maven could not fetch Kafka's jars: {done.stdout[:500]}")
        Path(work, "libs").rename(folder)


def _run(command: list[str], folder: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _cluster_id() -> str:
    """Return a random id as Kafka writes them; one that starts with a dash would read as an option."""
    return "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


class KafkaServer:
    """One broker with PLAINTEXT and SASL_PLAINTEXT (SCRAM-SHA-512) listeners on free loopback ports.

    A third listener, on the port `behind`, tells its clients to come to the port `proxy`: see
    `tests.support.proxy`.

    It lives in a temporary folder that goes with it, ends with the context, and dies with this
    process where the machine has ``setpriv`` (Linux).
    """

    username = "fink"
    password = "correct-horse"

    def __init__(self, jvm: tuple[str, ...] = QUICK_JVM, properties: str = "") -> None:
        if not shutil.which("java"):
            raise KafkaUnavailableError("Java is not there to run Kafka")
        self._jvm = jvm
        self._jars = jars()
        self._folder = Path(tempfile.mkdtemp(prefix="finkbridge-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        names = ("plain", "sasl", "controller", "behind", "proxy")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.bootstrap = f"127.0.0.1:{ports['plain']}"
        self.sasl_bootstrap = f"127.0.0.1:{ports['sasl']}"
        self.behind, self.proxy = ports["behind"], ports["proxy"]
        settings = PROPERTIES.format(**ports, folder=self._folder)
        self._folder.joinpath("server.properties").write_text(settings + properties)
        log_level = "org.slf4j.simpleLogger.defaultLogLevel=warn\n"
        self._folder.joinpath("simplelogger.properties").write_text(log_level)

    def __enter__(self) -> Self:
        try:
            self._format()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._process is None:
            raise RuntimeError("this broker is not running")
        return self._process.pid

    def _java(self, *words: str) -> list[str]:
        return ["java", *self._jvm, "-cp", f"{self._jars}/*:{self._folder}", *words]

    def _format(self) -> None:
        scram = f"SCRAM-SHA-512=[name={self.username},password={self.password}]"
        words = ["format", "-t", _cluster_id(), "-c", "server.properties", "--add-scram", scram]
        command = self._java("kafka.tools.StorageTool", *words)
        done = _run(command, self._folder)
        if done.returncode:
            raise KafkaUnavailableError(f"Kafka could not format its folder: {done.stderr[-500:]}")

    def start(self) -> None:
        """Start the broker on its folder and ports, and wait until it answers."""
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        command = [*guard, *self._java("kafka.Kafka", "server.properties")]
        with self._folder.joinpath("out.txt").open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._await_listener()

    def _await_listener(self) -> None:
        host, port = self.sasl_bootstrap.split(":")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            time.sleep(0.05)
        said = self._folder.joinpath("out.txt").read_text(errors="replace")[-2000:]
        raise KafkaUnavailableError(f"Kafka did not start: {said}")

    def stop(self) -> None:
        """End the broker in good order (SIGTERM); its data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once (SIGKILL); its data stays."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the broker's process where it is: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        while _is_running(self.pid):  # its threads stop one by one, and may answer until then
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the broker, frozen or not, and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    """Whether any thread of a process is neither stopped nor dead."""
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            if thread.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return True
    return False
