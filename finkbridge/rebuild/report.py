"""What rebuilding a ledger says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from finkbridge.rebuild.tables import RebuildReport

LOST = (
    "numbers and times of commits, and with them the lake as of an older commit",
    "reasons of gaps, and gaps before the first and after the last message of a partition",
    "which offsets that no file has were holes alone, without a message: they are recorded as gaps",
    "Kafka's topic ids, until the next drain; generations of topics that have no file in the archive",
    "which messages in quarantine were accepted",
    "what had been lost of topics and partitions that have no file: no night up to now is complete any more",
    "when topics' ends were looked at: until the next drains, nobody knows what came since",
    "reports of runs",
)
"""What only the old ledger knew."""

MOST_NAMED = 1_000
"""Strays that a report names; the rest are counted."""


@dataclass(slots=True)
class LedgerReport:
    """What rebuilding a ledger found."""

    aside: str = ""
    """Where the old ledger is now."""
    put_back: bool = False
    """Whether it has its place again, as the tables could not be made."""
    plans: int = 0
    segments: int = 0
    messages: int = 0
    quarantined: int = 0
    """Of the messages: those that were in quarantine, requeued ones counted."""
    gaps: list[str] = field(default_factory=list)
    """Offsets between segments that no file has."""
    strays: list[str] = field(default_factory=list)
    """The first files that are of no committed plan, with what they are."""
    stray_count: int = 0
    unused_tables: int = 0
    """Files of the tables that the old ledger may have listed; the new one does not."""
    lost: tuple[str, ...] = LOST
    problems: list[str] = field(default_factory=list)
    tables: RebuildReport | None = None
    """None where it did not come to that."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def add_strays(self, paths: Iterable[str], what: str) -> None:
        """Name files that are of no committed plan."""
        for path in paths:
            self.stray_count += 1
            if len(self.strays) < MOST_NAMED:
                self.strays.append(f"{path}: {what}")
