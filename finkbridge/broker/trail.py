"""What a member of a group has read of each partition, so that what it was never given can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from finkbridge.values import OffsetRange

Place = tuple[str, int]
"""Topic and partition."""


class Trail:
    """The next offset of each partition."""

    def __init__(self) -> None:
        self._nexts: dict[Place, int] = {}

    def begin(self, offsets: Mapping[Place, int]) -> None:
        """Take partitions in, each with the offset that comes next."""
        self._nexts |= offsets

    def forget(self, places: Iterable[Place]) -> None:
        """Let partitions go, or begin anew."""
        for place in places:
            self._nexts.pop(place, None)

    def passed_over(self, read: Iterable[tuple[str, int, int]]) -> list[tuple[str, OffsetRange]]:
        """Return offsets before messages that did not come: holes, or messages that expired meanwhile.

        Parameters
        ----------
        read
            Topic, partition and offset of each message, those of a partition in order.
        """
        found = []
        for topic, partition, offset in read:
            due = self._nexts.get((topic, partition), offset)
            if offset > due:
                found.append((topic, OffsetRange(partition, due, offset)))
            self._nexts[topic, partition] = offset + 1
        return found
