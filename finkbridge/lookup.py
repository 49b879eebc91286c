"""Alerts of the lake by the name of an object or the number of an alert, and their bytes from the archive."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb

from finkbridge import catalog, layout
from finkbridge.avro.archive import read_value
from finkbridge.avro.resolve import datum_of
from finkbridge.avro.schemas import WriterSchema, parse_schema
from finkbridge.avro.single import decode_checked
from finkbridge.catalog.sql import quoted
from finkbridge.errors import DecodeError, SettingsError
from finkbridge.ledger.adopt import open_known
from finkbridge.settings import Settings
from finkbridge.surveys.other import NAMES

VIEWS = "deliveries lightcurve"
"""What is asked: no bookkeeping table need be filled."""

LARGEST_SOURCE_ID = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")

Row = dict[str, Any]
T = TypeVar("T")

DELIVERY = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset", "received",
            "archive_file", "archive_pos", "archive_len", "schema_id")  # fmt: skip
"""Columns of a delivery that are its own; all others are its alert's."""

_NAIVE = ", ".join(f"{name} AT TIME ZONE 'UTC' AS {name}" for name in ("received", "emitted"))
"""Times as UTC without a zone: DuckDB needs a further package to give one to Python."""

_PLACE = ("cluster", "topic", "generation", "kafka_partition", "kafka_offset")
"""A message's place in Kafka: columns of ``deliveries``, and with a ``_`` of packets."""

_IN_ARCHIVE = ("archive_file", "archive_pos", "archive_len")

LIGHTCURVE = ("mjd", "band", "kind", "mag", "mag_err", "mag_lim", "flux", "flux_err", "is_positive")


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """An alert of the lake, with every message that brought it."""

    row: Row
    """Columns of ``deliveries`` that have a value and say of the alert, not of a message."""
    deliveries: tuple[Row, ...]
    """The columns `DELIVERY` of each message, in order of its topic."""

    @property
    def survey(self) -> str:
        """``ztf`` or ``lsst``, or ``other`` for an alert of another kind, such as a multi-messenger one."""
        return str(self.row["survey"])

    @property
    def object_id(self) -> str:
        """Name of the object, as its survey says; empty where an alert of another kind has none."""
        return str(self.row.get("object_id", ""))

    @property
    def source_id(self) -> int | None:
        """Number of the alert; None where one of another kind has none."""
        return self.row.get("source_id")

    @property
    def label(self) -> str:
        """What tells it from others of its object: its number, or else its message's place."""
        first = self.deliveries[0]
        place = f"{first['topic']}-{first['kafka_partition']}-{first['kafka_offset']}"
        return place if self.source_id is None else str(self.source_id)

    @property
    def topics(self) -> list[str]:
        """Every topic that brought it, once."""
        return sorted({str(d["topic"]) for d in self.deliveries})


@dataclass(frozen=True, slots=True)
class Raw:
    """An alert as it was received."""

    schema: WriterSchema
    datum: bytes

    def record(self) -> dict[str, Any]:
        """Decode it; a landed message was strictly checked before.

        Raises
        ------
        DecodeError
            It has no value in Python.
        """
        found: dict[str, Any] = decode_checked(self.schema, self.datum)
        return found


class Lookup:
    """Asks one lake; close it, or use it in a ``with``.

    Raises
    ------
    LakeError
        There is no lake.
    """

    def __init__(self, settings: Settings) -> None:
        self.lake: Path = settings.lake
        with open_known(settings.lake, settings.ledger_url) as ledger:
            self.connection = catalog.connect(ledger, VIEWS, settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def find(self, name: str, survey: str | None = None, *, by_number: bool = False) -> list[Alert]:
        """Return the alerts of an object, or the alert of this number, the newest first.

        Parameters
        ----------
        name
            Of an object; else, where there is none, the number of an alert: candid or diaSourceId. Where
            neither survey knows it, of alerts of other kinds (multi-messenger, ELAsTiCC, counting topics).
        survey
            ``ztf`` or ``lsst``, where both know the name; ``other`` for alerts of other kinds alone.
        by_number
            Whether it is the number of an alert, and of no object: LSST names one by its first alert.

        Raises
        ------
        SettingsError
            The lake has neither; or both surveys have it, and none is given.
        """
        name = name.encode(errors="replace").decode()  # DuckDB takes no lone surrogate
        rows = [] if survey == "other" else self._of_surveys(name, by_number=by_number)
        rows = rows or self._others(name, by_number=by_number)
        rows = [row for row in rows if survey in {None, row["survey"]}]
        surveys = sorted({row["survey"] for row in rows})
        if not rows:
            whose = f" of {survey}" if survey else ""
            raise SettingsError(
                f"the lake has no object and no alert{whose} {name!r}: finkbridge sql lists what it has"
            )
        if len(surveys) > 1:
            raise SettingsError(f"{name} is of {' and of '.join(surveys)}: say which with -survey")
        return _alerts(rows)

    def others(self, name: str, *, by_number: bool = False) -> list[Alert]:
        """Return the alerts of other kinds of this name: multi-messenger topics send it of ZTF's objects."""
        return _alerts(self._others(name, by_number=by_number))

    def numbered(self, name: str) -> list[Alert]:
        """Return the alerts of a survey that have this number, whatever else it names."""
        return _alerts(self._of_surveys(name, by_number=True))

    def lightcurve(self, object_id: str, survey: str) -> list[Row]:
        """Return the columns `LIGHTCURVE` of the object's points, in order of time."""
        query = f"SELECT {', '.join(LIGHTCURVE)} FROM lightcurve(?) WHERE survey = ? ORDER BY mjd"  # noqa: S608
        return self._ask(query, [object_id, survey])

    def raw(self, alert: Alert) -> Raw:
        """Read an alert from the archive; raise DecodeError as `first_readable`."""
        return first_readable(self.lake, alert.deliveries, lambda raw: raw)

    def record(self, alert: Alert) -> dict[str, Any]:
        """Read an alert from the archive and decode it; raise DecodeError as `first_readable`."""
        return first_readable(self.lake, alert.deliveries, Raw.record)

    def _of_surveys(self, name: str, *, by_number: bool) -> list[Row]:
        rows = [] if by_number else self._rows("object_id = ?", name)
        if not rows and _NUMBER.fullmatch(name) and int(name) <= LARGEST_SOURCE_ID:
            rows = self._rows("source_id = ?", int(name))
        return rows

    def _rows(self, condition: str, value: str | int) -> list[Row]:
        query = f"SELECT * REPLACE ({_NAIVE}) FROM deliveries WHERE source_id IS NOT NULL AND {condition}"  # noqa: S608
        return self._ask(query, [value])

    def _others(self, name: str, *, by_number: bool) -> list[Row]:
        """Return messages of other kinds, with what their own fields say in place of what is not known."""
        known = ", ".join(f"{self._said(paths)} AS {quoted(what)}" for what, paths in NAMES.items())
        query = (
            f"SELECT d.* EXCLUDE (object_id, source_id, class) REPLACE ({_NAIVE}), p.object AS object_id, "  # noqa: S608
            "TRY_CAST(p.alert AS BIGINT) AS source_id, p.class AS class, p.trigger, p.observatory "
            f"FROM (SELECT {', '.join('_' + column for column in _PLACE)}, {known} FROM packets_other) AS p "
            f"JOIN deliveries AS d ON {' AND '.join(f'd.{column} = p._{column}' for column in _PLACE)} "
            "WHERE p.{} = ?"
        )
        rows = [] if by_number else self._ask(query.format("object"), [name])
        return rows or self._ask(query.format("alert"), [name])

    def _said(self, paths: Sequence[str]) -> str:
        """Return SQL for the first of some fields that says anything, as text: they may be of any type."""
        columns = [".".join(map(quoted, path.split("."))) for path in paths]
        # a column whose kind differs from topic to topic is JSON text
        texts = [f"trim(CAST({column} AS VARCHAR), '\"')" for column in columns if self._has_other(column)]
        given = [f"nullif(nullif({text}, ''), '0')" for text in texts]
        return f"coalesce({', '.join([*given, 'NULL::VARCHAR'])})"

    def _has_other(self, column: str) -> bool:
        try:
            self.connection.execute(f"SELECT {column} FROM packets_other LIMIT 0")  # noqa: S608
        except duckdb.BinderException:
            return False
        return True

    def _ask(self, query: str, values: Sequence[Any]) -> list[Row]:
        try:
            result = self.connection.execute(query, values)
            names = [name for name, *_ in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.IOException as error:
            said = str(error).splitlines()[0]
            raise DecodeError(f"a data file of the lake cannot be read ({said}): finkbridge verify") from None


def first_readable(lake: Path, deliveries: Sequence[Row], read: Callable[[Raw], T]) -> T:
    """Read an alert from the archive, by the first of its deliveries of which that can be done.

    Parameters
    ----------
    lake
        Its folder.
    deliveries
        Messages of the alert: columns of ``deliveries``.
    read
        What is wanted of its bytes.

    Raises
    ------
    DecodeError
        It cannot be done of any: their archive files are damaged or gone. The error is the first one's.
    """
    failed: list[DecodeError] = []
    for delivery in deliveries:
        try:
            return read(read_raw(lake, *(delivery[name] for name in _IN_ARCHIVE)))
        except DecodeError as error:
            failed.append(error)
    raise failed[0]


def read_raw(lake: Path, archive_file: str, position: int, length: int) -> Raw:
    """Read one message of the archive: its datum, without what the value has around it.

    Raises
    ------
    DecodeError
        The archive's file is damaged or gone.
    """
    try:
        layout.DataPath.parse(archive_file)
        text, framing, value = read_value(lake / archive_file, position, length)
        datum = datum_of(value, framing)
    except (OSError, ValueError) as error:
        raise DecodeError(f"{archive_file}: it cannot be read ({error}): finkbridge verify") from None
    return Raw(_schema(text), datum)


@lru_cache(maxsize=16)
def _schema(text: bytes) -> WriterSchema:
    return parse_schema(text)


def _alerts(rows: Sequence[Row]) -> list[Alert]:
    by_alert: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        numbered = row["source_id"], row["object_id"], row.get("trigger"), row.get("observatory")
        place = tuple(row[column] for column in _PLACE)
        by_alert.setdefault(numbered if row["source_id"] is not None else place, []).append(row)
    found = [_alert(mine) for mine in by_alert.values()]
    return sorted(found, key=_newest, reverse=True)


def _newest(alert: Alert) -> tuple[float, datetime, int]:
    received = alert.deliveries[0]["received"] if alert.survey == "other" else None
    return alert.row.get("mjd") or 0.0, received or datetime.min, alert.source_id or 0


def _alert(rows: Sequence[Row]) -> Alert:
    rows = sorted(
        rows,
        key=lambda r: (r["topic"], r["received"] or datetime.min, r["kafka_partition"], r["kafka_offset"]),
    )
    about = {name: value for name, value in rows[0].items() if name not in DELIVERY and value is not None}
    return Alert(about, tuple({name: row[name] for name in DELIVERY} for row in rows))
