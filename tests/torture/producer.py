"""A process that keeps producing: small simulated alerts of two surveys, bad messages, transactions.

Run as ``python -m tests.torture.producer BOOTSTRAP RATE SEED KIND TOPIC...``, with KIND `transactions` or
`plain`; SIGTERM ends it when all that it sent is acknowledged.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from finkbridge.simulator.stream import alerts

Record = tuple[bytes | None, bytes | None]

VARIETY = 300
"""Different alerts of each survey; a header makes each message one of its own."""
BAD_SHARE = 0.01
TRANSACTION_EVERY_S = 2.0
ANSWER_S = 300
"""On a machine as busy as this, or while the broker is away."""


def survey_of(topic: str) -> str:
    """Return the survey of a topic of ours, which its name tells."""
    return "lsst" if "lsst" in topic else "ztf"


def spoiled(record: Record, rng: random.Random) -> Record:
    """Return a message that is no alert."""
    key, value = record
    return rng.choice(
        [(key, b""), (key, None), (key, rng.randbytes(200)), (key, (value or b"")[:-7]), (b"{", value)]
    )


class Source:
    """Messages for topics, each with a number of its own."""

    def __init__(self, topics: Sequence[str], seed: int) -> None:
        self.rng = random.Random(seed)
        self._alerts = {
            survey: [(a.key, a.value) for a in alerts(survey, size="small", n=VARIETY, seed=seed)]
            for survey in {survey_of(topic) for topic in topics}
        }
        self.topics = topics
        self._sent = 0

    def next(self, topic: str | None = None) -> tuple[str, Record, list[tuple[str, bytes]]]:
        """Return a topic, a record and its headers."""
        topic = topic or self.rng.choice(self.topics)
        record: Record = self.rng.choice(self._alerts[survey_of(topic)])
        if self.rng.random() < BAD_SHARE:
            record = spoiled(record, self.rng)
        self._sent += 1
        return topic, record, [("number", str(self._sent).encode())]


def produce(bootstrap: str, rate: float, source: Source, kind: str, stop: threading.Event) -> None:
    """Send so many messages a second until told to stop; plain ones wait for a broker that is away."""
    patient = {"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 5, "message.timeout.ms": 600_000}
    producer = Producer(patient)
    began, sent, next_transaction = time.monotonic(), 0, TRANSACTION_EVERY_S
    while not stop.is_set():
        elapsed = time.monotonic() - began
        while sent < elapsed * rate and not stop.is_set():
            _send(producer, *source.next())
            sent += 1
        if kind == "transactions" and elapsed > next_transaction:
            next_transaction += TRANSACTION_EVERY_S
            sent += _transaction(bootstrap, source, source.rng.choice(source.topics))
        producer.poll(0.01)
    while left := producer.flush(5):
        print(f"the producer waits for {left} messages to be acknowledged", file=sys.stderr, flush=True)


def _send(producer: Producer, topic: str, record: Record, headers: list[tuple[str, bytes]]) -> None:
    while True:
        try:
            producer.produce(topic, key=record[0], value=record[1], headers=headers, partition=_turn(topic))
        except BufferError:
            producer.poll(0.1)
        else:
            return


_turns: dict[str, int] = {}
PARTITIONS = 2


def _turn(topic: str) -> int:
    _turns[topic] = _turns.get(topic, -1) + 1
    return _turns[topic] % PARTITIONS


def _transaction(bootstrap: str, source: Source, topic: str) -> int:
    """Send a few messages at once, or take them back: both leave offsets without a message."""
    name = f"torture-{source.rng.getrandbits(32)}"
    patient = {"bootstrap.servers": bootstrap, "log_level": 0, "transaction.timeout.ms": ANSWER_S * 1000}
    producer = Producer(patient | {"transactional.id": name})
    producer.init_transactions(ANSWER_S)
    producer.begin_transaction()
    count = source.rng.randint(1, 6)
    for _ in range(count):
        _send(producer, *source.next(topic))
    if source.rng.random() < 0.5:
        producer.commit_transaction(ANSWER_S)
    else:
        producer.abort_transaction(ANSWER_S)
    return count


def main() -> None:
    """Produce until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bootstrap, rate, seed, kind, *topics = sys.argv[1:]
    source = Source(topics, int(seed))
    print("producing", flush=True)
    produce(bootstrap, float(rate), source, kind, stop)


if __name__ == "__main__":
    main()
