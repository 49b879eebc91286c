"""What came of a verification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from finkbridge.verify.findings import Finding, Scope
from finkbridge.verify.spans import Spans


class Watcher(Protocol):
    """Who watches a verification."""

    def begin(self, what: str, total_bytes: int) -> None:
        """Take note of bytes that are to be read."""

    def advance(self, read_bytes: int) -> None:
        """Take note of bytes that were read."""


class Unwatched:
    """Nobody watches."""

    def begin(self, what: str, total_bytes: int) -> None:
        """Do nothing."""

    def advance(self, read_bytes: int) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Report:
    """All that was found, and how much was looked at."""

    scope: Scope
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is strange and breaks no promise."""
    spans: list[Spans] = field(default_factory=list)
    """Gaps and holes, which the ledger accounts for."""
    pruned: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    rows: int = 0
    """Of the files of deliveries."""
    seconds: float = 0.0
    deep: bool = False
    independent: bool = False
    """Whether the new decoding is by an engine that shares no code with drains."""
    compared_rows: int = 0
    """Rows of packets whose every field, and that of their delivery, was compared with a new decoding."""
    compared_bytes: int = 0
    """Of their messages."""
    compared_seconds: float = 0.0
    independent_rows: int = 0
    """Those of them that were decoded by such an engine; of what it cannot, fastavro is all there is."""
    sampled_rows: int = 0
    """Those of them that fastavro decoded too."""

    @property
    def holds(self) -> bool:
        """Whether all that was looked at is as it should be."""
        return not self.findings

    def add(self, found: Finding | str) -> None:
        """Take a finding, or a line of what is only strange."""
        if isinstance(found, Finding):
            self.findings.append(found)
        else:
            self.notes.append(found)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as one object for JSON."""
        return {
            "holds": self.holds,
            "scope": {"nights": sorted(self.scope.nights), "topics": list(self.scope.topics)},
            "findings": self.findings,
            "notes": self.notes,
            "gaps": [span for span in self.spans if span.kind == "gap"],
            "holes": [span for span in self.spans if span.kind == "hole"],
            "pruned": self.pruned,
            "files": self.files,
            "bytes": self.bytes,
            "rows": self.rows,
            "seconds": self.seconds,
            "deep": self._deep() if self.deep else None,
        }

    def _deep(self) -> dict[str, Any]:
        return {
            "rows": self.compared_rows,
            "bytes": self.compared_bytes,
            "seconds": self.compared_seconds,
            "independent": self.independent,
            "by_datafusion": self.independent_rows,
            "by_fastavro": self.sampled_rows,
        }
