"""What there is to say of an object of the lake: lines and tables for a person's eyes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finkbridge.lookup import Alert, Row
from finkbridge.text import plain
from finkbridge.viewer.view import position_text, utc_text

ALERT = ("alert", "time (UTC)", "band", "mag", "mag_err", "sign", "class", "reliability", "topics")
DELIVERY = ("alert", "topic", "message", "received (UTC)", "archive file", "position", "bytes")
LONGEST = 250
"""Characters of a topic: Kafka allows no more."""


@dataclass(frozen=True, slots=True)
class Told:
    """The text of one object."""

    head: list[str]
    alerts: list[tuple[object, ...]]
    deliveries: list[tuple[object, ...]]
    alert_columns: tuple[str, ...] = ALERT
    delivery_columns: tuple[str, ...] = DELIVERY


def told(found: Sequence[Alert], alerts: Sequence[Alert]) -> Told:
    """Return the text of all alerts that were `found`, with rows of the `alerts` that are wanted."""
    rows = [_delivery(alert, delivery) for alert in alerts for delivery in alert.deliveries]
    return Told(list(_head(found)), [_row(alert) for alert in alerts], rows)


def _head(found: Sequence[Alert]) -> Iterator[str]:
    newest = found[0].row
    times = [_time(alert) for alert in (found[-1], found[0])]
    topics = sorted({topic for alert in found for topic in alert.topics})
    yield f"object     {plain(found[0].object_id, 80) or 'none'}   ({found[0].survey})"
    if position := position_text(newest.get("ra"), newest.get("dec")):
        yield f"position   {position}"
    for name in ("trigger", "observatory"):
        if values := sorted({plain(str(a.row[name]), 80) for a in found if name in a.row}):
            yield f"{name:10} {', '.join(values)}"
    yield (
        f"alerts     {len(found):,}, {times[0]} to {times[1]}"
        if len(found) > 1
        else f"alerts     1, {times[0]}"
    )
    yield f"messages   {sum(len(alert.deliveries) for alert in found):,}"
    yield f"topics     {', '.join(plain(topic, LONGEST) for topic in topics)}"
    yield ""


def _row(alert: Alert) -> tuple[object, ...]:
    row = alert.row
    sign = None if row.get("is_positive") is None else "+" if row["is_positive"] else "-"
    return (
        _named(alert),
        utc_text(row.get("mjd")).removesuffix(" UTC") or None,
        plain(row["band"], 8) if row.get("band") else None,
        _digits(row.get("mag"), 3),
        _digits(row.get("mag_err"), 3),
        sign,
        plain(row["class"], 40) if row.get("class") else None,
        _digits(row.get("reliability"), 2),
        ", ".join(plain(topic, LONGEST) for topic in alert.topics),
    )


def _named(alert: Alert) -> str:
    """Return what tells an alert from others of its object: some differ by their trigger alone."""
    trigger = alert.row.get("trigger")
    return f"{alert.label} ({plain(str(trigger), 40)})" if trigger else alert.label


def _time(alert: Alert) -> str:
    """Return when it was observed; of another kind, when Kafka got it."""
    received = alert.deliveries[0]["received"]
    if alert.survey == "other" and received is not None:
        return f"{received:%Y-%m-%d %H:%M:%S} UTC (received)"
    return utc_text(alert.row.get("mjd"))


def _digits(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _delivery(alert: Alert, delivery: Row) -> tuple[object, ...]:
    message = f"{delivery['kafka_partition']}:{delivery['kafka_offset']}"
    received = delivery["received"]
    if delivery["generation"] != 1:
        message = f"{message} (life {delivery['generation']})"
    return (
        _named(alert),
        plain(delivery["topic"], LONGEST),
        message,
        None if received is None else f"{received:%Y-%m-%d %H:%M:%S}",
        delivery["archive_file"],
        str(delivery["archive_pos"]),
        str(delivery["archive_len"]),
    )
