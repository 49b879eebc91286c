"""What is said of an alert: text that is safe wherever it is shown, and what a program may want of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from finkbridge.consumer.names import is_given, object_of
from finkbridge.settings import BotSettings
from finkbridge.surveys.other import NAMES
from finkbridge.text import short
from finkbridge.viewer.view import position_text, utc_text

Row = dict[str, Any]

_IDENTITY = ("alert", "trigger", "observatory")

LONGEST_NAME, LONGEST_TOPICS, LONGEST_URL = 80, 300, 250
"""Characters: all together stays below Telegram's 1,024 of a caption."""


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """An alert, by the messages that brought it now."""

    key: str
    """Tells it from any other: survey and number; of another survey its object, number and trigger; of what
    has no number, its message's place in Kafka."""
    rows: tuple[Row, ...]
    """Columns of ``deliveries`` of each message."""

    @property
    def row(self) -> Row:
        """Columns of the first message."""
        return self.rows[0]

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that brought it, each once."""
        return tuple(sorted({row["topic"] for row in self.rows}))


@dataclass(frozen=True, slots=True)
class Post:
    """What a channel is to show. All texts are printable ASCII and short; none is escaped for any markup."""

    key: str
    title: str
    lines: tuple[tuple[str, str], ...]
    """Name and value."""
    url: str | None
    """The object's page."""
    fields: Row
    """What JSON can hold: the alert's columns that have a value."""
    picture: bytes | None = None
    """PNG."""

    @property
    def text(self) -> str:
        """Return all of it as plain lines."""
        said = [self.title, *(f"{name}: {value}" for name, value in self.lines), self.url]
        return "\n".join(line for line in said if line)


def alerts_of(rows: Sequence[Row], record_of: Callable[[Row], Mapping[str, Any] | None]) -> list[Alert]:
    """Return the alerts of deliveries, in the same order.

    Parameters
    ----------
    rows
        Columns of ``deliveries``.
    record_of
        Reads one of another survey, as only its record says which it is. None where it cannot be read: it is
        left out, as nobody can tell whether it was posted.
    """
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        if row["survey"] != "other":
            by_key.setdefault(_key(row), []).append(row)
        elif (record := record_of(row)) is not None:
            by_key.setdefault(_key_of_other(row, record), []).append(row)
    return [Alert(key, tuple(mine)) for key, mine in by_key.items()]


def post_of(
    alert: Alert, settings: BotSettings, picture: bytes | None = None, record: Mapping[str, Any] | None = None
) -> Post:
    """Return what there is to say of an alert; of another kind than ZTF's and LSST's, its record names it."""
    row, own = alert.row, record or {}
    name = short(row.get("object_id") or object_of(own) or "alert without an object", LONGEST_NAME)
    number = _own(own, "alert") if row.get("source_id") is None else str(row["source_id"])
    lines = [
        ("class", short(row.get("class") or _own(own, "class"), LONGEST_NAME)),
        ("trigger", _own(own, "trigger")),
        ("observatory", _own(own, "observatory")),
        ("brightness", _brightness(row)),
        ("time", utc_text(row.get("mjd")) or _received(row)),
        ("position", position_text(row.get("ra"), row.get("dec"))),
        ("alert", number),
        ("topics", short(", ".join(alert.topics), LONGEST_TOPICS)),
    ]
    survey = str(row["survey"]).upper()
    title = name if name.startswith(survey) or row["survey"] == "other" else f"{survey} {name}"
    shown = tuple((label, value) for label, value in lines if value)
    fields = {**_fields(row), "topics": list(alert.topics)}
    return Post(alert.key, title, shown, _url(row, settings), fields, picture)


def _key(row: Row) -> str:
    if row["source_id"] is not None:
        return f"{row['survey']} {row['source_id']}"
    place = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")
    return " ".join(["message", *(str(row[name]) for name in place)])


def _key_of_other(row: Row, record: Mapping[str, Any]) -> str:
    """Return what a multi-messenger alert is known by: one comes by several topics."""
    if not _said(record, "alert"):
        return _key(row)
    return json.dumps(["other", object_of(record), *(_said(record, what) for what in _IDENTITY)])


def _own(record: Mapping[str, Any], what: str) -> str:
    """Return what a record of another survey says, made short."""
    return short(_said(record, what), LONGEST_NAME)


def _said(record: Mapping[str, Any], what: str) -> str:
    """Return what a record of another survey says, by the first of its fields that says anything."""
    for path in NAMES[what]:
        value: Any = record
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, str | int) and is_given(value):
            return str(value)
    return ""


def _brightness(row: Row) -> str:
    band = short(row.get("band") or "", 8)
    said = [_measured(row, "mag", 2, "mag")]
    if row["survey"] != "ztf":  # which measures magnitudes
        said.append(_measured(row, "flux", 0, "nJy"))
    text = ", ".join(filter(None, said))
    sign = ", fainter than the template" if row.get("is_positive") is False else ""
    return f"{band + ' = ' if band else ''}{text}{sign}" if text else ""


def _measured(row: Row, name: str, digits: int, unit: str) -> str:
    value, error = row.get(name), row.get(f"{name}_err")
    if value is None:
        return ""
    return f"{value:.{digits}f}{'' if error is None else f' +- {error:.{digits}f}'} {unit}"


def _received(row: Row) -> str:
    received = row.get("received")
    return "" if received is None else f"{received.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC (received)"


def _url(row: Row, settings: BotSettings) -> str | None:
    portal = {"ztf": settings.portal_ztf, "lsst": settings.portal_lsst}.get(str(row["survey"]))
    name = row.get("object_id")
    if portal is None or not name or len(name) > LONGEST_NAME or set(name) <= {"."}:
        return None
    url = f"{portal}/{quote(name, safe='', errors='replace')}"
    return url if len(url) <= LONGEST_URL else None


def _fields(row: Row) -> Row:
    return {name: _plain(value) for name, value in row.items() if _plain(value) is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    return value
