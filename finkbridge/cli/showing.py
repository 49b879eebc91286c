"""How ``finkbridge consumer`` shows alerts as they come: a table, one line each, or JSON lines."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from finkbridge.consumer.opening import Opened
from finkbridge.consumer.summary import Row, summary

FORMATS = ("table", "line", "json")
LONGEST_CELL = 60
ROWS_A_HEADER = 40
"""Rows after which the header is drawn again: on a terminal, the last one is long out of sight."""
WIDTHS = {
    "Emitted at (UTC)": 23,
    "Received at (UTC)": 19,
    "objectId": 14,
    "Object": 20,
    "ObjectId": 14,
    "Simbad": 18,
    "Magnitude": 9,
    "Band": 4,
    "Flux (nJy)": 12,
    "Magnitude (AB)": 14,
    "Class": 18,
    "Classification": 18,
    "Rate (mag/day)": 14,
    "Observatory": 14,
    "Trigger ID": 14,
}
"""Characters of the columns: known before the alerts are. What is longer sticks out."""
CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")

Show = Callable[[Opened, Path | None], None]


def shower(style: str, topics: Sequence[str], *, cutouts: bool = False) -> Show:
    """Return what shows one alert on standard output.

    Parameters
    ----------
    style
        One of `FORMATS`.
    topics
        Their names' lengths decide how wide the table's column is.
    cutouts
        Whether JSON has the images, in Base64.
    """
    if style == "json":
        return lambda opened, file: click.echo(as_json(opened, file, cutouts=cutouts))
    if style == "line":
        return lambda opened, file: click.echo(as_line(summary(opened, datetime.now(UTC)), file))
    return Table(max(map(len, topics), default=0)).show


class Table:
    """A table that grows: its columns are as wide as such values mostly are."""

    def __init__(self, topic_width: int) -> None:
        self._widths = WIDTHS | {"Topic": min(topic_width, LONGEST_CELL)}
        self._kind: str | None = None
        self._rows = 0
        self._rule = ""

    def show(self, opened: Opened, _: Path | None) -> None:
        """Print one alert's row, under a header where one is due."""
        for line in self.lines(summary(opened, datetime.now(UTC))):
            click.echo(line)

    def lines(self, row: Row) -> Iterator[str]:
        """Yield the lines of one row, with a header above where one is due."""
        widths = [max(len(name), self._widths[name]) for name in row.values]
        rule = self._rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
        if row.kind != self._kind or self._rows >= ROWS_A_HEADER:
            yield from (rule, _drawn(row.values, widths), rule)
            self._kind, self._rows = row.kind, 0
        yield _drawn(map(_cell, row.values.values()), widths)
        self._rows += 1

    def close(self) -> None:
        """Draw the line below the last row: what comes next is none, or stands under a header of its own."""
        if self._kind is not None:
            click.echo(self._rule)
        self._kind = None


def as_line(row: Row, file: Path | None) -> str:
    """Return an alert as one line: times, topic, then what is known, by name."""
    values = dict(row.values)
    first = [values.pop(name) for name in ("Received at (UTC)", "Topic") if name in values]
    rest = [
        f"{name.split(' ')[0].lower()}={_cell(value)}" for name, value in values.items() if value is not None
    ]
    saved = [f"file={file}"] if file else []
    return " ".join([*map(_cell, first), *rest, *saved])


def as_json(opened: Opened, file: Path | None, *, cutouts: bool) -> str:
    """Return an alert as one line of JSON: where it is from, in short, and all of it."""
    m, row = opened.received.message, summary(opened, datetime.now(UTC))
    alert = {name: value for name, value in opened.alert.items() if cutouts or name not in CUTOUTS}
    told = {
        "topic": opened.received.topic,
        "partition": m.partition,
        "offset": m.offset,
        "timestamp_ms": m.timestamp_ms,
        "kind": row.kind,
        "summary": row.values,
        "file": None if file is None else str(file),
        "alert": alert,
    }
    return json.dumps(_plain(told), allow_nan=False)


def _drawn(cells: Any, widths: Sequence[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= LONGEST_CELL else shown[: LONGEST_CELL - 3] + "..."


def _plain(value: Any) -> Any:
    """Return a value that JSON can say: no NaN, bytes in Base64, times as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(mine) for key, mine in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(mine) for mine in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
