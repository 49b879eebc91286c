"""What a run says of itself: per topic what was planned and what became of it, and what went wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from finkbridge.values import LandedPart, OffsetRange, SegmentPlan, TopicGeneration


@dataclass(slots=True)
class TopicReport:
    """One topic in one run. Reconciled: planned = rows + quarantined + holes, or a problem says why."""

    cluster: str
    topic: str
    generation: int
    """The newest one."""
    planned: int = 0
    """Offsets that the run set out to drain."""
    messages: int = 0
    rows: int = 0
    quarantined: int = 0
    holes: int = 0
    """Offsets without a message (transactions, compaction), confirmed by a second look."""
    expired: int = 0
    """Offsets of gaps found in this run: lost at the broker before they could be drained."""
    salvaged: int = 0
    """Messages that came from files of a dead run, as the broker no longer has them."""
    bytes: int = 0
    lag: int = 0
    """Offsets left at the broker, as of the start of the run."""
    held: int = 0
    """Offsets behind what can be read: an open transaction of a producer holds them back."""
    nights: dict[int, int] = field(default_factory=dict)
    """Rows by observing night."""

    @property
    def reconciled(self) -> bool:
        """Whether every planned offset is accounted for."""
        return self.planned == self.rows + self.quarantined + self.holes

    def add(self, parts: tuple[LandedPart, ...]) -> None:
        """Count what was committed."""
        counts = [c for part in parts for c in part.counts]
        rows, quarantined = sum(c.rows for c in counts), sum(c.quarantined for c in counts)
        self.rows += rows
        self.quarantined += quarantined
        self.messages += rows + quarantined
        self.holes += sum(h.offsets for c in counts for h in c.holes)
        self.bytes += sum(part.bytes for part in parts)
        self.lag -= sum(c.range.offsets for c in counts)
        for file in (f for part in parts for f in part.files if f.table == "deliveries"):
            self.nights[file.night or 0] = self.nights.get(file.night or 0, 0) + file.rows


@dataclass(slots=True)
class DrainReport:
    """One run over all topics."""

    run: int = 0
    topics: dict[tuple[str, str], TopicReport] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """One line each: a cluster that is down, a topic that is absent, a segment that failed."""
    unmerged: list[str] = field(default_factory=list)
    """Those of the problems that merging and views had: nothing is lost, and no cluster is to blame."""
    seconds: float = 0.0
    commit: int = 0
    """The newest commit of the lake after the run."""

    def topic(self, source: TopicGeneration) -> TopicReport:
        """Return the report of a topic, a new one if there is none."""
        key = (source.cluster, source.topic)
        found = self.topics.setdefault(key, TopicReport(source.cluster, source.topic, source.generation))
        found.generation = max(found.generation, source.generation)
        return found

    def planned(self, plan: SegmentPlan) -> None:
        """Count a plan that this run sets out to finish."""
        self.topic(plan.source).planned += sum(r.offsets for r in plan.ranges)

    def replanned(self, plan: SegmentPlan) -> None:
        """Take a plan back that cannot be finished."""
        self.topic(plan.source).planned -= sum(r.offsets for r in plan.ranges)

    def lost(self, source: TopicGeneration, gap: OffsetRange) -> None:
        """Count a range that can no longer be had."""
        topic = self.topic(source)
        topic.expired += gap.offsets
        topic.lag = max(0, topic.lag - gap.offsets)

    def total(self, name: str) -> int:
        """Return the sum of a number over the topics."""
        return sum(int(getattr(t, name)) for t in self.topics.values())

    @property
    def succeeded(self) -> bool:
        """Whether everything that was planned is in the lake."""
        return not self.problems and all(t.reconciled for t in self.topics.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        counts = ("planned", "messages", "rows", "quarantined", "holes", "expired", "salvaged")
        totals = (*counts, "bytes", "lag", "held")
        return {
            "run": self.run,
            "commit": self.commit,
            "seconds": round(self.seconds, 3),
            "succeeded": self.succeeded,
            **{name: self.total(name) for name in totals},
            "topics": [asdict(t) | {"reconciled": t.reconciled} for t in self.topics.values()],
            "problems": self.problems,
        }
