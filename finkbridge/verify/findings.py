"""What verification finds: values, each of which tells what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from finkbridge import layout
from finkbridge.nights import parse_night

RESTORE = "restore it from a copy"
RESTORE_LEDGER = (
    "restore the ledger from a copy, or make it anew with `finkbridge rebuild --ledger --replace`"
)
RESTORE_DATABASE = (
    "restore the ledger's database from a copy, or empty it and make the ledger anew with "
    "`finkbridge rebuild --ledger`"
)
REBUILD = "make the tables anew with `finkbridge rebuild`"
PUBLISH = "run `finkbridge catalog`"
PRUNE = "run `finkbridge verify --prune`"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that does not hold."""

    kind: str
    """Which check found it: ledger, offsets, counts, file, rows, stray, catalog, row."""
    where: str
    """A path relative to the lake, or what of the ledger."""
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}: {self.remedy}"


def of_database(finding: Finding) -> Finding:
    """Return a finding in the words for a ledger in PostgreSQL."""
    remedy = RESTORE_DATABASE if finding.remedy == RESTORE_LEDGER else finding.remedy
    return replace(
        finding, where="ledger" if finding.where == layout.LEDGER else finding.where, remedy=remedy
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """What is verified: all, or some nights and topics."""

    nights: Collection[int] = ()
    """YYYYMMDD; empty is all."""
    topics: Collection[str] = ()
    """Names and patterns; empty is all."""

    @classmethod
    def parse(cls, nights: Collection[str], topics: Collection[str]) -> Scope:
        """Make a scope of a command's words; a night that is none raises SettingsError."""
        return cls(frozenset(map(parse_night, nights)), tuple(topics))

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.nights and not self.topics

    def has_night(self, night: int | None) -> bool:
        """Whether a night is asked for; None is of no night."""
        return not self.nights or night in self.nights

    def has_topic(self, topic: str | None, short: Callable[[str], str] = str) -> bool:
        """Whether a topic is asked for; `short` is how the topic at hand is abbreviated."""
        return not self.topics or (
            topic is not None and any(fnmatchcase(topic, short(pattern)) for pattern in self.topics)
        )

    def __str__(self) -> str:
        parts = [f"night {night}" for night in sorted(self.nights)] + [f"topic {t}" for t in self.topics]
        return ", ".join(parts) or "the whole lake"
