"""Takes what librdkafka tells a consumer that nobody reads from.

It tells of traffic each second, in a queue without bound: a day without an alert would be gigabytes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, TopicPartition

EVERY_S = 15.0


class Idle:
    """A consumer's assignments, and a thread that empties its queue while it has none.

    Parameters
    ----------
    consumer : Consumer
        Whose assignments are made here only, so that no message is ever taken by the thread.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="idle consumer", daemon=True).start()

    def assign(self, places: Sequence[TopicPartition]) -> None:
        """Begin to read: the queue is its reader's until `unassign`."""
        with self._lock:
            self._consumer.assign(list(places))

    def end(self) -> None:
        """End the thread, before the consumer is closed."""
        self._ended.set()
        with self._lock:
            pass

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            with self._lock, suppress(KafkaException):
                if not self._ended.is_set() and not self._consumer.assignment():
                    self._consumer.consume(1, 0)
