"""Refuses to begin behind every message: a wrong year would skip all that is unread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from finkbridge.broker.client import Broker
from finkbridge.errors import SettingsError


def refuse_later_than_all(broker: Broker, topics: Sequence[str], start: datetime) -> None:
    """Raise SettingsError where the topics have messages, and none is of this time or newer."""
    marks = broker.watermarks(topics)
    ends = {place: mark.end for place, mark in marks.items() if mark.end > mark.low}
    stamp_ms = int(start.timestamp() * 1000)
    for topic in dict.fromkeys(topic for topic, _ in ends):
        found = broker.offsets_at(topic, [p for t, p in ends if t == topic], stamp_ms)
        if any(offset < ends[topic, partition] for partition, offset in found.items()):
            return
    if ends:
        last = broker.first_timestamps_ms({place: end - 1 for place, end in ends.items()})
        raise SettingsError(
            f"-start_at {start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} is behind all messages"
            f"{_newest(last.values())}, and the group stays where it is: say an earlier time, or latest"
        )


def _newest(stamps_ms: Iterable[int | None]) -> str:
    """Return the newest time in words; nothing where none is known, or none of this calendar."""
    newest = max((stamp for stamp in stamps_ms if stamp is not None), default=None)
    if newest is None or not 0 <= newest < 253402300800000:  # the year 10000
        return ""
    return f" (the newest is of {datetime.fromtimestamp(newest / 1000, UTC):%Y-%m-%dT%H:%M:%SZ})"
