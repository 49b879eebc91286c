"""The file name of an alert: from what the alert says, and safe whatever it says. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

SUFFIX = ".avro"
LONGEST = 180
"""Characters of a name before its suffix; file systems end at 255 bytes."""
_PLAIN = re.compile(r"[A-Za-z0-9.+-]")

FIRST_FIELDS = frozenset({"objectId", "candid", "triggerId", "alertId", "diaSourceId", "diaSource"})
"""Top-level fields that most names are made of: they stand first in an alert."""
FIELDS = FIRST_FIELDS | {"mpc_orbits", "ssSource"}
"""All of them; those of moving objects stand behind an LSST alert's history."""


def file_name(alert: Mapping[str, Any], place: str) -> str:
    """Return the file name of an alert.

    Parameters
    ----------
    alert
        At least its `FIELDS`.
    place
        ``<topic>-<partition>-<offset>``: names an alert that has no identity of its own, or not enough.

    Returns
    -------
    str
        ``<objectId>_<candid>.avro`` (ZTF), ``<diaObjectId>_<diaSourceId>.avro`` (LSST, ELAsTiCC; a moving
        object by its designation), ``<objectId>_<triggerId>[_<candid>].avro`` (multi-messenger). A blank is
        ``_``; any other character than ``A-Z a-z 0-9 . + -`` is ``%`` with its bytes in hex.
    """
    parts = [safe(part) for part in identity(alert)]
    if not parts or is_one_of_several(alert):
        parts.append(safe_place(place))
    return name_of(parts)


def name_of(parts: Iterable[str]) -> str:
    """Return the file name that safe parts make, cut where it is too long."""
    name = "_".join(parts)
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name + SUFFIX


def identity(alert: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts that tell an alert from all others, the object's first; empty where there are none."""
    if is_given(alert.get("objectId")):
        rest = [alert.get("triggerId"), alert.get("candid")]
        given = [str(value) for value in rest if is_given(value)]
        return (str(alert["objectId"]), *given) if given else ()
    source = _inner(alert, "diaSource")
    number = alert.get("diaSourceId") or source.get("diaSourceId") or alert.get("alertId")
    if not is_given(number):
        return ()
    return (object_of(alert) or "none", str(number))


def is_one_of_several(alert: Mapping[str, Any]) -> bool:
    """Whether others may be of the same object and trigger: its own number says nothing."""
    return is_given(alert.get("triggerId")) and "candid" in alert and not is_given(alert["candid"])


def object_of(alert: Mapping[str, Any]) -> str | None:
    """Return the object of an alert of any kind: name, number, or a moving object's designation."""
    source = _inner(alert, "diaSource")
    candidates = [
        alert.get("objectId"),
        source.get("diaObjectId"),
        _inner(alert, "mpc_orbits").get("designation"),
        _inner(alert, "ssSource").get("designation"),
    ]
    moving = source.get("ssObjectId") or _inner(alert, "ssSource").get("ssObjectId")
    found = next((str(value) for value in candidates if is_given(value)), None)
    return found or (f"ss:{moving}" if moving else None)


def is_moving(alert: Mapping[str, Any]) -> bool:
    """Whether an alert's name is in its last `FIELDS`, as it has neither an object's name nor its number."""
    return not is_given(alert.get("objectId")) and not is_given(_inner(alert, "diaSource").get("diaObjectId"))


def is_given(value: Any) -> bool:
    """Whether an identifier says anything: LSST writes 0 for none."""
    return value not in (None, "", 0)


def safe(text: str) -> str:
    """Return a text as a part of a file name: no two texts give the same."""
    kept = "".join(map(_safe_character, text))
    return "%2E" + kept[1:] if kept.startswith(".") else "%2D" + kept[1:] if kept.startswith("-") else kept


def safe_place(place: str) -> str:
    """Return ``<topic>-<partition>-<offset>`` as a part of a file name: topics are full of ``_``."""
    return safe(place).replace("%5F", "_")


def _safe_character(character: str) -> str:
    if character == " ":
        return "_"
    if _PLAIN.match(character):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _inner(alert: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = alert.get(name)
    return value if isinstance(value, Mapping) else {}
