"""What a person wants to see of an alert at first sight: one row, whatever the kind of alert."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from finkbridge import later
from finkbridge.avro.resolve import Framing
from finkbridge.consumer.names import object_of
from finkbridge.consumer.opening import Opened

MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
JD_OF_MJD_ZERO = 2400000.5
MJD_OF_UNIX_EPOCH = 40587
AB_ZERO_POINT_NJY = 31.4
TIMES = ("Emitted at (UTC)", "Received at (UTC)", "Topic")

Values = dict[str, Any]


class Row(NamedTuple):
    """An alert in a few words."""

    kind: str
    """``ztf``, ``lsst``, ``multi-messenger``, ``prediction`` or ``other``."""
    values: Values
    """By column, in order; None where the alert does not say."""


def summary(opened: Opened, at: datetime) -> Row:
    """Return the row of an alert that was received at a time.

    ``Emitted at`` is the time of the observation, as in fink-client; of alerts of other schemas, Kafka's.
    """
    alert = opened.alert
    candidate, source = _inner(alert, "candidate"), _inner(alert, "diaSource")
    if "triggerId" in alert:
        return Row("multi-messenger", _multi_messenger(opened))
    if "jd" in candidate:
        return Row(
            "ztf", _times(opened, _from_mjd(_minus(candidate["jd"], JD_OF_MJD_ZERO)), at) | _ztf(alert)
        )
    if "midpointMjdTai" in source or "midPointTai" in source:
        tai = source.get("midpointMjdTai", source.get("midPointTai"))
        return Row("lsst", _times(opened, _from_mjd(_utc(tai)), at) | _lsst(alert))
    stamp = opened.received.message.timestamp_ms
    emitted = None if stamp is None else _from_mjd(MJD_OF_UNIX_EPOCH + stamp / 86_400_000)
    times = _times(opened, emitted, at)
    if opened.framing is Framing.PREDICTION:
        return Row("prediction", times | _prediction(alert))
    return Row("other", times | {"objectId": object_of(alert)})


def _times(opened: Opened, emitted: datetime | None, at: datetime) -> Values:
    texts = (
        None if emitted is None else _to_ms(emitted),
        at.strftime("%Y-%m-%d %H:%M:%S"),
        opened.received.topic,
    )
    return dict(zip(TIMES, texts, strict=True))


def _to_ms(moment: datetime) -> str:
    """Return a time rounded to milliseconds: a Julian date is good for 40 µs."""
    return (moment + timedelta(microseconds=500)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _ztf(alert: Mapping[str, Any]) -> Values:
    return {
        "objectId": alert.get("objectId"),
        "Simbad": alert.get("cdsxmatch"),
        "Magnitude": _number(_inner(alert, "candidate").get("magpsf")),
    }


def _lsst(alert: Mapping[str, Any]) -> Values:
    source = _inner(alert, "diaSource")
    flux = _flux(source)
    return {
        "Object": object_of(alert),
        "Band": source.get("band", source.get("filterName")),
        "Flux (nJy)": flux,
        "Magnitude (AB)": AB_ZERO_POINT_NJY - 2.5 * math.log10(abs(flux)) if flux else None,
        "Class": _class(alert),
    }


def _flux(source: Mapping[str, Any]) -> float | None:
    """Return the difference flux (nJy), which ELAsTiCC has in a unit of its own."""
    flux = _number(source.get("psfFlux", source.get("psFlux")))
    if flux is None or "psfFlux" in source:
        return flux
    return flux * float(later.get("finkbridge.surveys.photometry:ELASTICC_NJY"))


def _class(alert: Mapping[str, Any]) -> str | None:
    """Return what an LSST alert is: by catalogues, else as moving, else the classifier's number."""
    said, crossmatch = _inner(alert, "pred"), _inner(alert, "xm")
    known = said.get("main_label_crossmatch") or crossmatch.get("simbad_otype")
    if known or said.get("is_sso"):
        return str(known or "solar system")
    label = said.get("main_label_classifier")
    return None if label in (None, -1) else f"label {label}"


def _multi_messenger(opened: Opened) -> Values:
    alert = opened.alert
    return {
        "ObjectId": alert.get("objectId"),
        "Classification": alert.get("fink_class"),
        "Topic": opened.received.topic,
        "Rate (mag/day)": _number(alert.get("rate")),
        "Observatory": alert.get("observatory"),
        "Trigger ID": alert.get("triggerId"),
    }


def _prediction(alert: Mapping[str, Any]) -> Values:
    return {"Alert": alert["source_id"], "Model": alert["model"], "Prediction": alert["prediction"]}


def _inner(alert: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = alert.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _minus(value: Any, other: float) -> float | None:
    number = _number(value)
    return None if number is None else number - other


def _utc(mjd_tai: Any) -> float | None:
    number = _number(mjd_tai)
    return None if number is None else float(later.call("finkbridge.surveys.times:utc_of_tai", number))


def _from_mjd(mjd: float | None) -> datetime | None:
    return None if mjd is None or abs(mjd) > 1e6 else _moment(timedelta(days=mjd), MJD_EPOCH)


def _moment(span: timedelta, epoch: datetime) -> datetime | None:
    try:
        return epoch + span
    except OverflowError:
        return None
