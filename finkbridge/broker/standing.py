"""A consumer that stands behind the range it has read, for a moment: the next range may begin there.

What librdkafka has read ahead by then is in its queue already, and need not be fetched again.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from confluent_kafka import Consumer

from finkbridge.values import TopicGeneration

STAND_S = 2.0
"""How long what was read ahead waits: memory, and requests for more where there is none."""


class Series(NamedTuple):
    """Whose ranges are read on from each other."""

    life: TopicGeneration
    """In another life of the topic, the same offsets are other messages."""
    run: int
    """What an earlier run read ahead may be older than this one's look: the log may have been cut since."""


class Place(NamedTuple):
    """Where a consumer stands."""

    series: Series
    partition: int
    offset: int
    """Of the message that it would give next, or one below it."""


class Standing:
    """Keeps an assignment that nobody reads from, and gives it up when nobody comes in time.

    Parameters
    ----------
    consumer : Consumer
        Whose assignment it is.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._place: Place | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(0, lambda: None)

    def stay(self, place: Place) -> None:
        """Keep the assignment for who goes on at this place."""
        self._place = place
        self._timer = threading.Timer(STAND_S, self._give_up, [place])
        self._timer.daemon = True
        self._timer.start()

    def take(self) -> Place | None:
        """Return where the consumer stands, which is the caller's now; None where it has no assignment."""
        self._timer.cancel()
        with self._lock:
            place, self._place = self._place, None
        return place

    def _give_up(self, place: Place) -> None:
        with self._lock:
            if self._place is place:
                self._place = None
                self._consumer.unassign()
