"""Sends messages of the quarantine through again after a fix: steps 3-7 of the way through the house.

The messages of one segment at a time, with no broker:

    3 archive    those that are good now go to an archive file of their own, under a number never used again
    4 decode     as at the first time
    5 land       all files are written aside; their names are written down, then given
    6 commit     one transaction: files, counts, and each message from waiting to landed, compared and set
    7 publish    the catalog, once, at the end

Steps 3-5 are a worker's (`finkbridge.quarantine.send`), under the time limit of a drain: messages that wait
may be those that killed one. What cannot be landed is found as in a drain (`finkbridge.attempts`).

A crash before 6 leaves messages waiting, and files that the next coordinator deletes, as the ledger names
them. What still cannot land waits on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finkbridge.attempts import Attempts, Back, is_fault, reason_of
from finkbridge.avro.schemas import parse_schema
from finkbridge.budget import columns_by_schema, is_late
from finkbridge.disk import clear_scratch, staging
from finkbridge.drain import Bridge
from finkbridge.errors import NameTakenError, SchemaError, SettingsError
from finkbridge.ledger import quarantined as q
from finkbridge.ledger.quarantined import NOT_LANDED, Entry, Selection
from finkbridge.ledger.writers import read_schemas
from finkbridge.planning import SPLIT_INTO
from finkbridge.quarantine.send import SendTask, Sent, send
from finkbridge.rebuild.tables import holding
from finkbridge.settings import Settings
from finkbridge.values import TopicGeneration
from finkbridge.workforce import Workforce

WORKERS = 1
"""Processes that land: a message that ends one ends no requeue."""

MOST_NAMED = 1_000
"""Messages that a report names; the rest are counted."""

WAIT_S = 60.0
"""How long to wait for a worker at a time; there is nothing else to do."""


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
        Which messages; those that are named also where they were accepted as lost.
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
    if selection.named:
        selection = replace(selection, state=NOT_LANDED)
    with holding(settings) as bridge:
        if selection.named:
            q.refuse_ambiguous(q.find(bridge.coordinator.ledger, selection), selection)
        segments = q.segments(bridge.coordinator.ledger, selection)
        report = _send_all(bridge, selection, schema, segments) if segments else RequeueReport()
        report.problems += bridge.publish()
        report.commit = bridge.coordinator.ledger.last_commit()
    return report


def accept(settings: Settings, selection: Selection) -> list[Entry]:
    """Note that a person has seen messages which will never land; return them."""
    with holding(settings) as bridge:
        entries = q.find(bridge.coordinator.ledger, selection)
        q.refuse_ambiguous(entries, selection)
        if entries:
            q.accept(bridge.coordinator, entries)
        bridge.publish()
    return entries


def _send_all(
    bridge: Bridge, selection: Selection, schema: bytes | None, segments: Sequence[int]
) -> RequeueReport:
    workers = Workforce(WORKERS)
    try:
        job = _Requeue(bridge, selection, schema, workers)
        for segment_id in segments:
            job.segment(segment_id)
    finally:
        workers.close()
    bridge.coordinator.check()  # another one's scratch is not ours to clear
    clear_scratch(bridge.settings.lake)
    return job.report


class _Requeue:
    """One requeue's messages on their way."""

    def __init__(
        self, bridge: Bridge, selection: Selection, schema: bytes | None, workers: Workforce
    ) -> None:
        self.report = RequeueReport()
        self._coordinator = bridge.coordinator
        self._settings = bridge.settings
        self._selection = selection
        self._schema = schema
        self._attempts: Attempts[SendTask, Sent | str] = Attempts(workers, send, self)

    def segment(self, segment_id: int) -> None:
        """Send the messages of one segment through again."""
        entries = q.find_in_segment(self._coordinator.ledger, self._selection, segment_id)
        self.report.selected += len(entries)
        self._attempts.start(self._task(entries))
        while self._attempts.is_busy():
            for back in self._attempts.wait(WAIT_S):
                self._take(back)

    def is_wanted(self, _: SendTask) -> bool:
        """Whether it matters what becomes of messages: it always does."""
        return True

    def pieces(self, task: SendTask) -> list[SendTask]:
        """Part messages that cannot be landed together."""
        entries = task.entries
        size = -(-len(entries) // SPLIT_INTO)
        if len(entries) < 2:
            return []
        return [self._task(entries[at : at + size]) for at in range(0, len(entries), size)]

    def refused(self, _task: SendTask, _error: Exception) -> None:
        """Have a message wait on: there is nothing to do for that."""

    def _task(self, entries: Sequence[Entry]) -> SendTask:
        number, known = q.begin_requeue(self._coordinator), self._known(entries[0].source)
        return SendTask(self._settings, tuple(entries), number, self._schema, known)

    def _known(self, source: TopicGeneration) -> Mapping[str, int] | None:
        """Return the writer schemas that a topic has; None where the user asks for whatever there is."""
        if self._selection.named or self._schema is not None:
            return None
        return read_schemas(self._coordinator.ledger, source)

    def _is_late(self, task: SendTask, sent: Sent) -> bool:
        """Whether other messages have landed meanwhile, and these bring too many schemas by now."""
        told, known = task.known_schemas, self._known(task.entries[0].source)
        if told is None or known is None:
            return False
        decode, new = self._settings.decode, columns_by_schema(sent.schemas)
        return is_late(told, known, new, decode.max_schemas, decode.max_columns)

    def _take(self, back: Back[SendTask, Sent | str]) -> None:
        task, sent, error = back
        if isinstance(sent, str):
            self.report.problems.append(sent)
        elif sent is not None and self._is_late(task, sent):
            for aside, _ in sent.aside:
                aside.unlink(missing_ok=True)
            self._attempts.start(self._task(task.entries))
        elif sent is not None:
            self._commit(task.entries, sent)
        elif error is not None and is_fault(error):
            self.report.keep(task.entries[0], reason_of(error, self._settings.worker_timeout_s))
        else:
            self.report.problems.append(str(error))

    def _commit(self, entries: Sequence[Entry], sent: Sent) -> None:
        good = []
        for entry in entries:
            if (reason := sent.still.get((entry.partition, entry.offset))) is not None:
                self.report.keep(entry, reason)
            else:
                good.append(entry)
        if not good:
            return
        q.announce(self._coordinator, sent.files)
        with staging(self._coordinator.ledger.lake) as place:
            for aside, path in sent.aside:
                place.keep(aside, path)
            try:
                place.publish()
            except NameTakenError:
                self._coordinator.forget_merges([path for _, path in sent.aside])  # what has a name stays
                raise
        q.commit_requeue(self._coordinator, good, sent.files, sent.schemas)
        self.report.landed += len(good)


def _check(schema: bytes | None) -> None:
    try:
        if schema is not None:
            parse_schema(schema)
    except SchemaError as error:
        raise SettingsError(f"the schema file is no Avro schema: {error}") from None
