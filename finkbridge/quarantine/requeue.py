"""Sends messages of the quarantine through again after a fix: steps 3-7 of the way through the house.

The messages of one segment at a time, with no broker:

    3 archive    those that are good now go to an archive file of their own, under a number never used again
    4 decode     as at the first time
    5 land       all files are written aside; their names are written down, then given
    6 commit     one transaction: files, counts, and each message from waiting to landed, compared and set
    7 publish    the catalog, once, at the end

A crash before 6 leaves messages waiting, and files that the next coordinator deletes, as the ledger names
them. What still cannot land waits on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finkbridge.avro.schemas import parse_schema
from finkbridge.disk import staging
from finkbridge.errors import DecodeError, SchemaError, SettingsError
from finkbridge.land import Lander
from finkbridge.layout import SegmentName
from finkbridge.ledger import Coordinator
from finkbridge.ledger import quarantined as q
from finkbridge.ledger.quarantined import Entry, Selection
from finkbridge.quarantine.contents import Contents
from finkbridge.rebuild.remake import NoBroker
from finkbridge.rebuild.tables import holding
from finkbridge.registry import lookups_of_all
from finkbridge.settings import Settings
from finkbridge.values import Rejected

MOST_NAMED = 1_000
"""Messages that a report names; the rest are counted."""


@dataclass(slots=True)
class RequeueReport:
    """What became of the messages that were sent through again."""

    selected: int = 0
    landed: int = 0
    still: list[tuple[Entry, str]] = field(default_factory=list)
    """The first `MOST_NAMED` of those that wait on, with today's reason."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How many wait on, by reason."""
    problems: list[str] = field(default_factory=list)
    """One line each: quarantine files that cannot be read, merging that failed."""
    commit: int = 0
    """The newest commit of the lake afterwards."""

    @property
    def waiting(self) -> int:
        """Number of the messages that still wait."""
        return self.selected - self.landed

    def keep(self, entry: Entry, reason: str) -> None:
        """Note that a message waits on."""
        self.reasons[reason] += 1
        if len(self.still) < MOST_NAMED:
            self.still.append((entry, reason))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "selected": self.selected,
            "landed": self.landed,
            "waiting": self.waiting,
            "still": [{"id": e.id, "message": e.place, "reason": reason} for e, reason in self.still],
            "problems": self.problems,
            "commit": self.commit,
        }


def requeue(settings: Settings, selection: Selection, schema: bytes | None = None) -> RequeueReport:
    """Send messages of the quarantine through again.

    Parameters
    ----------
    settings
        Of the lake; no cluster is needed.
    selection
        Which messages.
    schema
        Text of the writer schema for all of them; None to find it with each message.

    Raises
    ------
    SettingsError
        The schema is none, or a message that is named does not wait.
    LakeError
        Another coordinator has the lake, or it cannot be written.
    """
    _check(schema)
    report = RequeueReport()
    with holding(settings) as bridge:
        lander = Lander(
            settings.lake.absolute(),
            NoBroker(),
            settings.decode.engine,
            schema,
            lookups=lookups_of_all(settings),
        )
        job = _Requeue(bridge.coordinator, selection, lander, report)
        if selection.named:
            q.find(bridge.coordinator.ledger, selection)
        for segment_id in q.segments(bridge.coordinator.ledger, selection):
            job.segment(segment_id)
        report.problems += bridge.publish()
        report.commit = bridge.coordinator.ledger.last_commit()
    return report


def accept(settings: Settings, selection: Selection) -> list[Entry]:
    """Note that a person has seen messages which will never land; return them."""
    with holding(settings) as bridge:
        entries = q.find(bridge.coordinator.ledger, selection)
        if entries:
            q.accept(bridge.coordinator, entries)
        bridge.publish()
    return entries


@dataclass(slots=True)
class _Requeue:
    coordinator: Coordinator
    selection: Selection
    lander: Lander
    report: RequeueReport

    def segment(self, segment_id: int) -> None:
        """Send the messages of one segment through again."""
        ledger = self.coordinator.ledger
        entries = q.find_in_segment(ledger, self.selection, segment_id)
        self.report.selected += len(entries)
        contents = Contents(ledger.lake)
        try:
            rejected = [contents.of(entry) for entry in entries]
        except DecodeError as error:
            self.report.problems.append(str(error))
            return
        self._land(entries, rejected)

    def _land(self, entries: Sequence[Entry], rejected: Sequence[Rejected]) -> None:
        first = entries[0]
        source, number = first.source, q.begin_requeue(self.coordinator)
        name = SegmentName(source.topic, source.generation, first.partition, first.offset, number, 0)
        messages = [r.message for r in rejected]
        with staging(self.coordinator.ledger.lake) as place:
            again = self.lander.land_again(source, name, messages, _facts(first, number), place)
            still = {(r.message.partition, r.message.offset): r.reason for r in again.rejected}
            for entry in entries:
                if (reason := still.get((entry.partition, entry.offset))) is not None:
                    self.report.keep(entry, reason)
            good = [e for e in entries if (e.partition, e.offset) not in still]
            if good:
                q.announce(self.coordinator, again.files)
                place.publish()
                q.commit_requeue(self.coordinator, good, again.files, again.schemas)
                self.report.landed += len(good)


def _check(schema: bytes | None) -> None:
    try:
        if schema is not None:
            parse_schema(schema)
    except SchemaError as error:
        raise SettingsError(f"the schema file is no Avro schema: {error}") from None


def _facts(first: Entry, number: int) -> dict[str, Any]:
    """Return what the archive file's header says: no range of its own, but whose messages it has."""
    return {
        "cluster": first.source.cluster,
        "topic": first.source.topic,
        "generation": first.source.generation,
        "plan": number,
        "part": 0,
        "ranges": [],
        "holes": [],
        "requeued": {"plan": first.plan, "part": first.part},
    }
