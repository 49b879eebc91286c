"""The loop of ``finkbridge consumer``: what is polled is saved, then shown, and only then committed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from finkbridge.avro.resolve import Resolved
from finkbridge.broker.assignment import Received
from finkbridge.consumer.opening import Opened
from finkbridge.consumer.proving import prove
from finkbridge.consumer.saving import Saver, Unsaved
from finkbridge.consumer.session import Session
from finkbridge.errors import DecodeError

BATCH = 200
"""Messages that are saved together: 11 MB of ZTF, 46 MB of LSST."""
SHOWN = 10
"""The same where alerts are shown: as dicts, 0.4 s and 22 MB of LSST, before the first one is a line."""
SLICE_S = 0.5
"""Longest wait before a request to stop is seen."""
LINGER_S = 0.1
"""Wait for a batch to fill: an alert is saved or shown at most so much later."""


class Listener(Protocol):
    """Who is told what happens."""

    wants_alerts: bool
    """Whether it shows alerts, so that each must be decoded whole."""

    def alert(self, opened: Opened, file: Path | None) -> None:
        """Take one alert; when this returns, it is shown."""

    def idle(self, session: Session, seconds: float) -> None:
        """Take note that nothing came for so long."""

    def skipped(self, error: DecodeError) -> None:
        """Take note of a message that cannot be opened, and was left aside."""


@dataclass(slots=True)
class Counts:
    """What became of the messages."""

    alerts: int = 0
    saved: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    limit: int | None = None
    timeout_s: float = 10.0
    """Seconds without an alert after which the listener is told."""
    skip_bad: bool = False
    """Whether a message that cannot be opened is left aside; else it ends the loop, and stays unread."""


class Loop:
    """Polls, saves and shows, until the limit or the event."""

    def __init__(self, session: Session, order: Order, listener: Listener, saver: Saver | None) -> None:
        self._session = session
        self._order = order
        self._listener = listener
        self._saver = saver
        self.counts = Counts()

    def run(self, stop: threading.Event) -> Counts:
        """Go on until `stop` is set, or as many alerts came as are wanted.

        Raises
        ------
        DecodeError
            A message cannot be opened: all before it are done, and the next call begins with it.
        SaveError, BrokerError
            The disk or the cluster refuses.
        """
        quiet_since = time.monotonic()
        while not stop.is_set() and (wanted := self._wanted()) > 0:
            batch = self._session.poller.poll(wanted, SLICE_S, LINGER_S)
            if batch:
                self._handle(batch)
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self._order.timeout_s:
                self._listener.idle(self._session, self._order.timeout_s)
                quiet_since = time.monotonic()
        return self.counts

    def _wanted(self) -> int:
        limit, most = self._order.limit, SHOWN if self._listener.wants_alerts else BATCH
        return most if limit is None else min(most, limit - self.counts.alerts)

    def _handle(self, batch: Sequence[Received]) -> None:
        while batch:
            done, error = self._take(batch)
            if error is None:
                return
            if not self._order.skip_bad:
                raise error
            self._skip(batch[done], error)
            batch = batch[done + 1 :]

    def _take(self, batch: Sequence[Received]) -> tuple[int, DecodeError | None]:
        """Save and show the messages before the first that cannot be opened; return their number, and why."""
        if self._listener.wants_alerts:
            opened, error = self._open(batch)
            files = self._save(batch, [Resolved(o.schema, o.datum, o.framing) for o in opened])
            for one, file in zip(opened, files, strict=True):
                self._listener.alert(one, file)
                self._done([one.received])
            return len(opened), error
        resolved, error = prove(self._session.opener, batch)
        self._save(batch, resolved)
        self._done(batch[: len(resolved)])
        return len(resolved), error

    def _open(self, batch: Sequence[Received]) -> tuple[list[Opened], DecodeError | None]:
        opened: list[Opened] = []
        for received in batch:
            try:
                opened.append(self._session.opener.open(received))
            except DecodeError as error:
                return opened, error
        return opened, None

    def _save(self, batch: Sequence[Received], resolved: Sequence[Resolved]) -> Sequence[Path | None]:
        if self._saver is None:
            return [None] * len(resolved)
        opener = self._session.opener
        unsaved = [
            Unsaved(opener.name(received, one.schema, one.datum), one.schema, one.datum)
            for received, one in zip(batch, resolved, strict=False)
        ]
        files = self._saver.save(unsaved)
        self.counts.saved += len(files)
        return files

    def _skip(self, received: Received, error: DecodeError) -> None:
        if self._saver is not None:
            self._saver.set_aside(received)
        self._listener.skipped(error)
        self._session.poller.done([received])
        self.counts.skipped += 1

    def _done(self, received: Sequence[Received]) -> None:
        self._session.poller.done(received)
        self.counts.alerts += len(received)
