"""What is there so far of an AI topic and its feed: in a transfer's state, or in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import polars as pl

from finkbridge import later, layout
from finkbridge.errors import SchemaError
from finkbridge.layout import SegmentName
from finkbridge.ledger import Ledger
from finkbridge.transfer.joined import known_by, newest_predictions
from finkbridge.transfer.proof import Key


class Known(Protocol):
    """Alerts and predictions."""

    def alerts(self) -> pl.DataFrame:
        """Return what the alerts are known by, each once, as the column ``source_id``."""

    def newest(self) -> pl.DataFrame:
        """Return one row an alert and model: ``source_id``, ``model``, and ``prediction``, the newest one."""


class InState:
    """In the files that a transfer's state has of both topics."""

    def __init__(self, ledger: Ledger, feed: str, topic: str) -> None:
        self._ledger = ledger
        self._feed = feed
        self._topic = topic

    def alerts(self) -> pl.DataFrame:
        """See `Known`."""
        return known_by(self.alert_files())

    def newest(self) -> pl.DataFrame:
        """See `Known`."""
        return newest_predictions(self._files(self._topic))

    def alert_files(self) -> list[Path]:
        """Return the feed's files."""
        return self._files(self._feed)

    def prediction_rows(self) -> list[Any]:
        """Return what the ledger says of the predictions' files."""
        return self._rows(self._topic)

    def _files(self, topic: str) -> list[Path]:
        return [self._ledger.lake / layout.landed_path(row.path) for row in self._rows(topic)]

    def _rows(self, topic: str) -> list[Any]:
        wanted = layout.short_topic(topic)
        rows = self._ledger.alive_files("export")
        return [row for row in rows if SegmentName.parse(row.path).topic == wanted]


class InLake:
    """In the lake's views."""

    def __init__(self, ledger: Ledger, feed: Key, topic: Key) -> None:
        self._ledger = ledger
        self._feed = feed
        self._topic = topic

    def alerts(self) -> pl.DataFrame:
        """See `Known`.

        Raises
        ------
        SchemaError
            They are of no survey that is known, so that the lake has no numbers of them.
        """
        query = "SELECT DISTINCT source_id FROM deliveries WHERE cluster = ? AND topic = ?"
        found = self._ask(query, self._feed)
        if found["source_id"].has_nulls():
            raise SchemaError("the alerts are neither ZTF's nor LSST's: transfer them to a folder (-outdir)")
        return found

    def newest(self) -> pl.DataFrame:
        """See `Known`."""
        query = "SELECT source_id, model, prediction FROM predictions WHERE cluster = ? AND topic = ?"
        return self._ask(query, self._topic)

    def _ask(self, query: str, values: Key) -> pl.DataFrame:
        with later.call("finkbridge.catalog:connect", self._ledger, query) as connection:
            return pl.DataFrame(connection.sql(query, params=list(values)).arrow().read_all())
