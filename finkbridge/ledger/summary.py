"""What the ledger tells of each topic and of the newest run, for `status`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from finkbridge import layout
from finkbridge.ledger import schema as s
from finkbridge.ledger.store import KnownGeneration, Ledger

Key = tuple[str, str]
"""Cluster and topic."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of offsets that was lost, as recorded."""

    generation: int
    partition: int
    start: int
    end: int
    reason: str
    at: float
    """When it was noticed, Unix seconds UTC."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The newest run."""

    kind: str
    started_at: float
    ended_at: float | None
    state: str
    """``running``, ``succeeded``, ``failed``, ``stopped``, or ``dead``: its process is gone."""
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger has by topic, read at once."""

    generations: Mapping[Key, KnownGeneration]
    messages: Mapping[Key, int]
    quarantined: Mapping[Key, int]
    gaps: Mapping[Key, tuple[Gap, ...]]


NO_FACTS = Facts({}, {}, {}, {})
"""Of a lake that is not there yet."""


def read_facts(ledger: Ledger) -> Facts:
    """Read what the lake has of each topic."""
    g, x = s.generations.c, s.gaps.c
    key = (g.cluster, g.topic)
    waiting = s.quarantine.c.state == "waiting"
    messages = select(*key, func.sum(s.segments.c.messages)).select_from(s.segments.join(s.generations))
    bad = select(*key, func.count()).select_from(s.quarantine.join(s.generations)).where(waiting)
    lost = (
        select(
            *key, g.generation, x.partition, x.start_offset, x.end_offset, x.reason, s.commits.c.committed_at
        )
        .select_from(s.gaps.join(s.generations).join(s.commits))
        .order_by(x.id)
    )
    gaps: dict[Key, tuple[Gap, ...]] = {}
    with ledger.reading() as connection:
        for cluster, topic, *gap in connection.execute(lost):
            gaps[cluster, topic] = (*gaps.get((cluster, topic), ()), Gap(*gap))
        counts, quarantined = (
            {(c, t): int(n) for c, t, n in connection.execute(query.group_by(*key))}
            for query in (messages, bad)
        )
    return Facts(ledger.generations(), counts, quarantined, gaps)


def newest_run(ledger: Ledger) -> RunStatus | None:
    """Return the newest run, whether or not its process lives; None if there was none."""
    row = ledger.last_run()
    if row is None:
        return None
    is_dead = row["state"] == "running" and ledger.is_sqlite and not has_coordinator(ledger)
    state = "dead" if is_dead else row["state"]
    return RunStatus(row["kind"], row["started_at"], row["ended_at"], state, row["summary"])


def has_coordinator(ledger: Ledger) -> bool:
    """Whether the process that last held the lake lives; trying its lock could refuse it to another."""
    try:
        os.kill(int((ledger.lake / layout.LOCK).read_text()), 0)
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True
