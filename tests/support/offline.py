"""Lakes made of messages that are given: the whole way through the house but the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finkbridge import catalog
from finkbridge.land import Bounds, Lander
from finkbridge.ledger import Coordinator, Ledger, coordinate
from finkbridge.ledger.store import KnownGeneration
from finkbridge.settings import Settings
from finkbridge.values import Message, OffsetRange, SegmentPlan
from finkbridge.verify import Options, verify
from finkbridge.verify.sample import Sample
from tests.support.lake import POINT, Record, encode

TIME_MS = 1_774_050_000_000  # 2026-03-20T23:40 UTC
POINT_KEY = json.dumps(POINT).encode()


class Given:
    """Messages as a broker would give them; offsets without one are holes."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:
        for m in self.messages:
            if m.partition == span.partition and span.start <= m.offset < span.end:
                yield [m]

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:
        return True

    def first_key(self, topic: str, /) -> bytes | None:
        return None


def settings_of(lake: Path, **more: Any) -> Settings:
    """Return settings of a lake without any cluster, working in this process."""
    return Settings.model_validate({"lake": lake, "workers": 0, **more})


def messages_of(records: Sequence[Record], partition: int = 0, first: int = 0) -> list[Message]:
    """Return messages with offsets in a row, each with a header."""
    return [
        Message(partition, first + i, TIME_MS + first + i, 1, key, value, (("h", b"\xff"),))
        for i, (key, value) in enumerate(records)
    ]


def point(x: float) -> Record:
    return POINT_KEY, encode(POINT, {"x": x})


def generation_of(coordinator: Coordinator, topic: str, cluster: str = "ztf") -> KnownGeneration:
    known = coordinator.ledger.generations().get((cluster, topic))
    return known or coordinator.add_generation(cluster, topic, None)


def plan_of(
    coordinator: Coordinator,
    topic: str,
    ranges: Sequence[OffsetRange],
    byte_limit: int = 10**9,
    cluster: str = "ztf",
) -> SegmentPlan:
    """Write a plan down, beginning the topic and its partitions if they are new."""
    known = generation_of(coordinator, topic, cluster)
    started = coordinator.ledger.partitions(known.row_id)
    new = {r.partition: r.start for r in ranges if r.partition not in started}
    coordinator.start_partitions(known, new)
    (plan,) = coordinator.add_plans(known, [tuple(ranges)], byte_limit)
    return plan


def fill(
    lake: Path,
    topics: Mapping[str, Sequence[Message]],
    offsets: int = 10,
    byte_limit: int = 10**9,
    url: str | None = None,
    cluster: str = "ztf",
    bounds: Bounds | None = None,
) -> None:
    """Drain given messages into a lake, in plans of so many offsets of one partition, and publish."""
    with Ledger(lake, url, create=True) as ledger, coordinate(ledger) as coordinator:
        for topic, messages in topics.items():
            lander = Lander(lake, Given(messages), bounds=bounds)
            for partition in sorted({m.partition for m in messages}):
                mine = [m.offset for m in messages if m.partition == partition]
                known = ledger.partitions(generation_of(coordinator, topic, cluster).row_id)
                start = known[partition].next_offset if partition in known else min(mine)
                for at in range(start, max(mine) + 1, offsets):
                    span = OffsetRange(partition, at, min(at + offsets, max(mine) + 1))
                    plan = plan_of(coordinator, topic, [span], byte_limit, cluster)
                    coordinator.commit_segment(plan, lander.land(plan))
        catalog.publish(coordinator)


def assert_verified(lake: Path, *, prune: bool = False) -> None:
    """Expect that `verify --deep` finds nothing, once `--prune` has deleted what is surely not needed."""
    if prune:
        verify(lake, None, Options(prune=True))
    assert verify(lake, None, Options(deep=True, sample=Sample())).findings == []
