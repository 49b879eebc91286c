"""A small Kafka without Java: librdkafka's mock cluster, for the demo and for machines with nothing else.

It keeps the newest 5 MB of each partition, keys counted, in memory; topics appear, with 4 partitions, when
they are written to; it knows no topic ids, settings, lookups by time, creation of topics, or passwords.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Self

from confluent_kafka import Producer

from finkbridge.errors import BrokerError

START_S = 30.0
STOP_S = 5.0

PARTITIONS = 4
"""Of a topic that appears by being written to."""
PARTITION_BYTES = 5 * 1024 * 1024
"""What a partition keeps: the newest messages, keys counted."""


class EmbeddedBroker:
    """A broker inside this process, from entering the context to leaving it."""

    def __init__(self) -> None:
        self._host: Producer | None = None
        self.bootstrap = ""

    def __enter__(self) -> Self:
        config = {"test.mock.num.brokers": 1, "log_level": 0, "bootstrap.servers": "in-this-process"}
        self._host = Producer(config)
        (node,) = self._host.list_topics(timeout=START_S).brokers.values()
        self.bootstrap = f"{node.host}:{node.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._host = None


@contextmanager
def embedded_process() -> Iterator[str]:
    """Run an embedded broker in a process of its own, which ends with the context or with this process.

    It is in a session of its own: Ctrl-C in a terminal is for this process, which ends the broker last.

    Yields
    ------
    str
        Its address, host:port on loopback.
    """
    code = f"from {__name__} import serve; serve()"
    process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield _address(process)
    finally:
        _end(process)


def serve() -> None:
    """Tell the address on standard output, then serve until standard input is closed."""
    with EmbeddedBroker() as broker:
        with suppress(BrokenPipeError):  # whoever asked is gone; a buffer would meet it again at the end
            os.write(sys.stdout.fileno(), f"{broker.bootstrap}\n".encode())
        sys.stdin.read()


def _address(process: subprocess.Popen[str]) -> str:
    out = process.stdout
    if out is not None and select([out], [], [], START_S)[0] and (address := out.readline().strip()):
        return address
    raise BrokerError("the embedded broker did not start: see the error above, then try again")


def _end(process: subprocess.Popen[str]) -> None:
    """Close both pipes, which ends the process; kill it if it does not."""
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=STOP_S)
        return
    process.kill()
    process.communicate()
