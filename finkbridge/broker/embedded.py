"""A small Kafka without Java: librdkafka's mock cluster, for the demo and for machines with nothing else.

It keeps the newest 5 MB of each partition, keys counted, in memory; topics appear, with 4 partitions, when
they are written to; it knows no topic ids, settings, lookups by time, creation of topics, or passwords.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Self

from confluent_kafka import Producer

from finkbridge.errors import BrokerError

START_S = 30.0
STOP_S = 5.0


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

    Yields
    ------
    str
        Its address, host:port on loopback.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), name="embedded-broker", daemon=True)
    process.start()
    theirs.close()
    try:
        yield _address(ours)
    finally:
        ours.close()
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _address(pipe: Connection) -> str:
    if pipe.poll(START_S):
        with suppress(EOFError):
            return str(pipe.recv())
    raise BrokerError("the embedded broker did not start: see the error above, then try again")


def _serve(pipe: Connection) -> None:
    """Tell the address, then serve until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process last
    with EmbeddedBroker() as broker:
        pipe.send(broker.bootstrap)
        with suppress(EOFError):
            pipe.recv()
