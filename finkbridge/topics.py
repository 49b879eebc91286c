"""What a cluster's topics are: how much is in them, from when to when, and in which version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finkbridge.avro.resolve import Resolved, SchemaResolver
from finkbridge.avro.single import decode_one
from finkbridge.broker import Broker, Watermarks
from finkbridge.broker.names import NO_PATTERN, is_pattern, select
from finkbridge.errors import BrokerError, DecodeError, UnknownTopicError
from finkbridge.registry import lookups_of
from finkbridge.settings import ClusterSettings
from finkbridge.values import Message, OffsetRange

LOOKED_AT = 20
"""Offsets before a partition's end among which its newest message is looked for: the last may be holes."""
VERSION_FIELDS = ("schemavsn", "lsst_schema_version", "fink_broker_version", "fink_science_version")


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic."""

    name: str
    is_mine: bool
    partitions: int
    messages: int
    """Offsets that can be read: a little more than messages, where there are holes."""
    bytes: int | None
    """About: the newest message's size, key included, times the number; None for an empty topic."""
    retention_s: float | None
    """-1 for ever; None where the broker does not tell."""
    oldest_ms: int | None
    newest_ms: int | None
    """Kafka's timestamps (Unix ms) of the first message that is there, and of the last."""
    version: str | None
    """Of the survey's schema, then of Fink's broker and science; None where the alert does not say."""


def list_topics(
    cluster: str, settings: ClusterSettings, patterns: Sequence[str] = (), *, only_mine: bool = False
) -> list[TopicInfo]:
    """Return what is there, sorted by name.

    Parameters
    ----------
    cluster, settings
        Of the cluster.
    patterns
        Names and patterns; none stands for all topics but companions (``<topic>_schema``).
    only_mine
        Leave out what the settings' topics do not stand for.

    Raises
    ------
    UnknownTopicError
        A plain name is not there.
    BrokerError
        The cluster refuses, or does not answer.
    """
    with Broker(cluster, settings) as broker:
        there = broker.topics()
        if patterns:
            broker.match(patterns)
        mine = set(select(settings.topics, there))
        chosen = select(patterns, there) if patterns else [t for t in there if not _is_companion(t, there)]
        names = [name for name in chosen if name in mine or not only_mine]
        return _describe(broker, settings, names, mine) if names else []


def expand(cluster: str, settings: ClusterSettings, patterns: Sequence[str]) -> list[str]:
    """Return the topics that names and patterns stand for now.

    Raises
    ------
    UnknownTopicError
        One stands for none.
    """
    with Broker(cluster, settings) as broker:
        broker.match(patterns)
        there = broker.topics()
    for pattern in patterns:
        if is_pattern(pattern) and not select([pattern], there):
            raise UnknownTopicError(
                f"cluster {cluster} has no topic that matches {pattern}: see `topics list`; {NO_PATTERN}"
            )
    return select(patterns, there)


def _describe(
    broker: Broker, settings: ClusterSettings, names: Sequence[str], mine: set[str]
) -> list[TopicInfo]:
    marks = broker.watermarks(names)
    retention = broker.retention_ms(names)
    times = broker.first_timestamps_ms({place: m.low for place, m in marks.items() if m.end > m.low})
    resolver = SchemaResolver(None, broker.schema_key, lookups=lookups_of(settings, None))
    found = []
    for name in names:
        parts = {place: m for place, m in marks.items() if place[0] == name}
        newest = _newest(broker, parts)
        count = sum(m.end - m.low for m in parts.values())
        kept_ms = retention[name]
        oldest = [t for place in parts if (t := times.get(place)) is not None]
        found.append(
            TopicInfo(
                name=name,
                is_mine=name in mine,
                partitions=len(parts),
                messages=count,
                bytes=None if newest is None else count * (newest.size + len(newest.key or b"")),
                retention_s=kept_ms if kept_ms is None or kept_ms < 0 else kept_ms / 1000,
                oldest_ms=min(oldest, default=None),
                newest_ms=None if newest is None else newest.timestamp_ms,
                version=None if newest is None else _version(resolver, name, newest),
            )
        )
    return found


def _newest(broker: Broker, parts: Mapping[tuple[str, int], Watermarks]) -> Message | None:
    """Return the message with the latest time among the last ones of the partitions."""
    found = []
    for (topic, partition), mark in parts.items():
        if mark.end > mark.low:
            found += _last(broker, topic, partition, mark)
    return max(found, key=lambda m: -1 if m.timestamp_ms is None else m.timestamp_ms, default=None)


def _last(broker: Broker, topic: str, partition: int, mark: Watermarks) -> list[Message]:
    message = broker.message_at(topic, partition, mark.end - 1)
    if message is None and mark.end - mark.low > 1:
        span = OffsetRange(partition, max(mark.low, mark.end - LOOKED_AT), mark.end)
        message = broker.first_message(topic, span)
    return [] if message is None else [message]


def _version(resolver: SchemaResolver, topic: str, message: Message) -> str | None:
    """Return the versions that an alert tells of itself; None where it cannot be read, or tells none."""
    try:
        found = resolver.resolve(topic, message)
        alert: Any = decode_one(found.schema, found.datum) if isinstance(found, Resolved) else None
    except (DecodeError, BrokerError):
        return None
    if not isinstance(alert, dict):
        return None
    texts = [str(alert[name])[:40] for name in VERSION_FIELDS if alert.get(name)]
    return " ".join(texts) or None


def _is_companion(topic: str, there: Mapping[str, int]) -> bool:
    return topic.endswith("_schema") and topic.removesuffix("_schema") in there
