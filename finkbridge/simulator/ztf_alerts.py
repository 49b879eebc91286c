"""Whole ZTF alerts, one after the other, with histories that grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from finkbridge.simulator import ztf, ztf_fink
from finkbridge.simulator.alert import SimulatedAlert, Size, broker_times
from finkbridge.simulator.cutouts import NoisePool, Scene, draw, fits_unit, gzipped
from finkbridge.simulator.designations import permanent_number
from finkbridge.simulator.encode import encoder, item_encoder
from finkbridge.simulator.history import Entry, History, Record
from finkbridge.simulator.lightcurves import flux_of
from finkbridge.simulator.nights import JD_MINUS_MJD, night_of, unix_ms
from finkbridge.simulator.objects import Measurement, SkyObject, observe
from finkbridge.simulator.schemas import schema_text
from finkbridge.simulator.schemas.ztf import SCHEMA
from finkbridge.simulator.sky import ZTF, Schedule, Visit

Row = dict[str, Any]

SIZES = {"full": Size(stamp_side=63, history=None), "small": Size(stamp_side=15, history=5)}
FIRST_PUBLIC_DAY = 58270
"""Day of 2018-06-01: no object's name has an earlier year."""
SURELY_SEEN_DAYS = 16.3
"""After its birth any object has been detected."""
LIMIT_ERROR = 0.2
"""Of an upper limit, magnitudes: what five sigma mean."""


@dataclass(slots=True)
class _Track:
    """One place in the sky, as ZTF knows it."""

    name: str
    history: History
    neighbours: Row
    catalogues: Row
    record: Record = field(default_factory=Record)


class ZtfAlerts:
    """Turns visits of objects into alerts; must see the visits in time order."""

    def __init__(self, schedule: Schedule, seed: int, size: str) -> None:
        self._schedule, self._size, self._pool = schedule, SIZES[size], NoisePool(seed)
        self._encode, self._encode_item = encoder(SCHEMA), item_encoder(SCHEMA, "prv_candidates")
        self._key = schema_text("ztf")
        self._tracks: dict[tuple[int, str, int], _Track] = {}
        # A limit is the same for all objects of a detector.
        self._limit = lru_cache(maxsize=1 << 16)(self._upper_limit)
        self._names = 0

    def visit(self, thing: SkyObject, visit: Visit) -> SimulatedAlert | None:
        """Measure an object in one more visit; return an alert if it is detected."""
        track = self._tracks.get(thing.key)
        if track is None:
            track = self._tracks[thing.key] = self._begin(thing, visit)
        found, row, entry = self._measure(thing, track, visit)
        track.history.forget(visit.mjd)
        alert = self._alert(thing, track, found, row, entry) if found.detected else None
        track.history.add(entry)
        if thing.kind == "asteroid":
            del self._tracks[thing.key]
        return alert

    def retire(self, gone: list[SkyObject]) -> None:
        """Forget objects that will not be visited again."""
        for thing in gone:
            self._tracks.pop(thing.key, None)

    def _begin(self, thing: SkyObject, visit: Visit) -> _Track:
        """Return a place with the visits it had before; an asteroid is at a new place each time."""
        self._names += 1
        moving = thing.kind == "asteroid"
        first = visit.day if moving else max(int(thing.birth), FIRST_PUBLIC_DAY)
        name = ztf.object_name(night_of(first) // 10000, self._names)
        track = _Track(name, History(ZTF.history_days), ztf.neighbours(thing), ztf_fink.catalogues(thing))
        if thing.birth + SURELY_SEEN_DAYS < visit.day - ZTF.history_days:
            track.record.remember(
                max(thing.birth + SURELY_SEEN_DAYS, FIRST_PUBLIC_DAY + 0.3), visit.day - ZTF.history_days
            )
        past = range(visit.day - ZTF.history_days, visit.day + 1)
        earlier = (v for day in past for v in self._schedule.visits_of(thing.field, day) if v.mjd < visit.mjd)
        for one in () if moving else earlier:
            track.history.add(self._measure(thing, track, one)[2])
        return track

    def _measure(self, thing: SkyObject, track: _Track, visit: Visit) -> tuple[Measurement, Row, Entry]:
        found = observe(thing, visit, ztf.ARCSEC_PER_PIXEL)
        track.record.count(visit.mjd, detected=found.detected)
        if not found.detected:
            return found, {}, self._limit(visit, thing.detector)
        row = ztf.detection(found, thing, track.neighbours)
        return (
            found,
            row,
            Entry(visit.mjd, visit.band, row["magpsf"], row["sigmapsf"], True, self._encode_item(row)),
        )

    def _upper_limit(self, visit: Visit, detector: int) -> Entry:
        item = self._encode_item(ztf.exposure(visit, detector))
        return Entry(visit.mjd, visit.band, visit.limit_mag, LIMIT_ERROR, False, item)

    def _alert(
        self, thing: SkyObject, track: _Track, found: Measurement, row: Row, entry: Entry
    ) -> SimulatedAlert:
        mjd, source_id = found.visit.mjd, row["candid"]
        times = broker_times(mjd, thing.rng, delay_minutes=12.0)
        n_alerts = 1 + sum(entry.detected for entry in track.history.entries)
        value = {
            "candid": source_id,
            "objectId": track.name,
            "candidate": row | self._context(thing, track, found) | track.neighbours,
            "prv_candidates": track.history.items(self._size.history) or None,
            "nalerthist": n_alerts,
            "lc_features_g": track.history.features("g", entry),
            "lc_features_r": track.history.features("r", entry),
            **self._stamps(thing, found, row),
            **track.catalogues,
            **ztf_fink.scores(thing, n_alerts),
            **ztf_fink.classes(thing, track.catalogues["cdsxmatch"], n_alerts),
            **ztf_fink.rates(entry, track.history),
            **ztf_fink.first_seen(found, track.history, track.record.first_mjd),
            **ztf_fink.broker_columns(mjd, times),
        }
        return SimulatedAlert(
            key=self._key,
            value=self._encode(value),
            object_id=track.name,
            source_id=source_id,
            kind=thing.kind,
            mjd=mjd,
            night=night_of(found.visit.day),
            emitted_ms=unix_ms(times.end),
        )

    def _context(self, thing: SkyObject, track: _Track, found: Measurement) -> Row:
        """Return what only a candidate has, and no entry of a history."""
        moving = thing.kind == "asteroid"
        name = permanent_number(thing.field.number, thing.serial) if moving else None
        return {
            "ndethist": track.record.detections,
            "ncovhist": 900 + track.record.covered,
            "jdstarthist": round(track.record.first_mjd + JD_MINUS_MJD, 7),
            "jdendhist": round(found.visit.mjd + JD_MINUS_MJD, 7),
            **ztf.solar_system(thing, name, found),
            **ztf.image_statistics(found, thing),
        }

    def _stamps(self, thing: SkyObject, found: Measurement, row: Row) -> Row:
        counts = 10.0 ** (-0.4 * (31.4 - row["magzpsci"]))
        away = row["distnr"] / ztf.ARCSEC_PER_PIXEL * 0.7
        fwhm = 1.2 if thing.kind == "bogus" else found.visit.fwhm
        scene = Scene(
            side=self._size.stamp_side,
            fwhm=fwhm,
            difference_flux=found.flux * counts,
            reference_flux=found.reference_flux * counts,
            reference_offset=(away, away),
            background=150.0,
            noise=flux_of(found.visit.limit_mag) * counts / 5.0 / (1.5 * found.visit.fwhm),
            whole=self._size.history is not None,
        )
        stamps = draw(scene, self._pool, row["candid"])
        sign = "scimref" if found.positive else "refmsci"
        name = f"candid{row['candid']}_pid{row['pid']}_targ"
        return {
            "cutoutScience": _cutout(f"{name}_sci.fits.gz", stamps.science),
            "cutoutTemplate": _cutout(f"candid{row['candid']}_ref.fits.gz", stamps.template),
            "cutoutDifference": _cutout(f"{name}_{sign}.fits.gz", stamps.difference),
        }


def _cutout(name: str, image: Any) -> Row:
    return {"fileName": name, "stampData": gzipped(fits_unit("SIMPLE", image, (("BUNIT", "DN"),)))}
