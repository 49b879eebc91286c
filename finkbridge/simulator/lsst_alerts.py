"""Whole LSST alerts, one after the other, with histories that grow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from finkbridge.simulator import lsst, lsst_fink
from finkbridge.simulator.alert import SimulatedAlert, Size, broker_times
from finkbridge.simulator.cutouts import Card, Image, NoisePool, Scene, draw, fits_unit, point_source
from finkbridge.simulator.designations import Designation, designation
from finkbridge.simulator.encode import encoder, item_encoder
from finkbridge.simulator.history import Entry, History
from finkbridge.simulator.nights import night_of, unix_ms
from finkbridge.simulator.objects import Measurement, SkyObject, observe
from finkbridge.simulator.schemas import schema_text
from finkbridge.simulator.schemas.lsst import SCHEMA
from finkbridge.simulator.sky import LSST, Schedule, Visit

Row = dict[str, Any]

SIZES = {"full": Size(stamp_side=30, history=None), "small": Size(stamp_side=15, history=2)}
REFERENCE_OFFSET = {
    "supernova": (1.5, 1.0),
    "variable": (0.0, 0.0),
    "asteroid": (8.0, -6.0),
    "bogus": (0.3, 0.0),
}
"""Pixels from the alert to the nearest source of the template: a host, the star itself, a stranger."""
PSF_SIDE, TEMPLATE_PSF_SIDE = 41, 55
"""Pixels of the images of the point-spread function that go with each stamp."""


@dataclass(slots=True)
class _Track:
    """One object, as Rubin knows it."""

    object_id: int
    """0 until its first detection."""
    name: Designation | None
    """Of an asteroid."""
    sources: History
    forced: History
    crossmatches: Row
    n_sources: int = 0


class LsstAlerts:
    """Turns visits of objects into alerts; must see the visits in time order."""

    def __init__(self, schedule: Schedule, seed: int, size: str) -> None:
        self._schedule, self._size, self._pool = schedule, SIZES[size], NoisePool(seed)
        self._encode = encoder(SCHEMA)
        self._encode_source = item_encoder(SCHEMA, "prvDiaSources")
        self._encode_forced = item_encoder(SCHEMA, "prvDiaForcedSources")
        self._key = schema_text("lsst")
        self._tracks: dict[tuple[int, str, int], _Track] = {}

    def visit(self, thing: SkyObject, visit: Visit) -> SimulatedAlert | None:
        """Measure an object in one more visit; return an alert if it is detected."""
        track = self._tracks.get(thing.key)
        if track is None:
            track = self._tracks[thing.key] = self._begin(thing, visit)
        found = observe(thing, visit, lsst.ARCSEC_PER_PIXEL)
        track.sources.forget(lsst.midpoint_tai(visit))
        track.forced.forget(lsst.midpoint_tai(visit))
        row = self._measure(thing, track, found)
        if row is None:
            return None
        entry = self._entry(found, self._encode_source(row), detected=True)
        alert = self._alert(thing, track, found, (row, entry))
        if track.name is None:
            track.sources.add(entry)
        return alert

    def retire(self, gone: list[SkyObject]) -> None:
        """Forget objects that will not be visited again."""
        for thing in gone:
            self._tracks.pop(thing.key, None)

    def _begin(self, thing: SkyObject, now: Visit) -> _Track:
        """Return an object with the visits it had before; an asteroid has no history."""
        moving = thing.kind == "asteroid"
        name = designation(thing.field.number, thing.serial) if moving else None
        number = name.ss_object_id if name else 0
        sources, forced = History(LSST.history_days), History(LSST.history_days)
        track = _Track(number, name, sources, forced, lsst_fink.crossmatches(thing))
        past = range(now.day - LSST.history_days, now.day + 1) if not moving else ()
        for visit in (v for day in past for v in self._schedule.visits_of(thing.field, day)):
            if visit.mjd < now.mjd:
                self._remember(thing, track, visit)
        return track

    def _remember(self, thing: SkyObject, track: _Track, visit: Visit) -> None:
        found = observe(thing, visit, lsst.ARCSEC_PER_PIXEL)
        row = self._measure(thing, track, found)
        if row is not None:
            track.sources.add(self._entry(found, self._encode_source(row), detected=True))

    def _measure(self, thing: SkyObject, track: _Track, found: Measurement) -> Row | None:
        """Return the source if there is one; forced photometry begins with the first detection."""
        if found.detected:
            track.object_id = track.object_id or lsst.source_id(found.visit, thing)
            track.n_sources += 1
        if track.object_id and track.name is None:
            forced = self._encode_forced(lsst.forced_source(found, thing, track.object_id))
            track.forced.add(self._entry(found, forced, detected=found.detected))
        return lsst.dia_source(found, thing, track.object_id) if found.detected else None

    def _entry(self, found: Measurement, item: bytes, *, detected: bool) -> Entry:
        visit = found.visit
        return Entry(lsst.midpoint_tai(visit), visit.band, found.flux, found.flux_err, detected, item)

    def _alert(
        self, thing: SkyObject, track: _Track, found: Measurement, source: tuple[Row, Entry]
    ) -> SimulatedAlert:
        row, entry = source
        visit = found.visit
        times = broker_times(visit.mjd, thing.rng, delay_minutes=5.0)
        first = track.sources.entries[0].mjd if track.sources.entries else entry.mjd
        value = {
            "diaSourceId": row["diaSourceId"],
            "observation_reason": visit.field.name,
            "target_name": f"{visit.field.name}, lowdust",
            "diaSource": row,
            **self._object(thing, track, visit, source),
            **self._stamps(thing, found, row),
            "lc_features": self._features(track, entry),
            **lsst_fink.verdicts(thing, track.crossmatches, track.n_sources, first),
            **lsst_fink.broker_columns(entry.mjd, times),
        }
        return SimulatedAlert(
            key=self._key,
            value=self._encode(value),
            object_id=track.name.text if track.name else str(track.object_id),
            source_id=row["diaSourceId"],
            kind=thing.kind,
            mjd=visit.mjd,
            night=night_of(visit.day),
            emitted_ms=unix_ms(times.end),
        )

    def _object(self, thing: SkyObject, track: _Track, visit: Visit, source: tuple[Row, Entry]) -> Row:
        """Return history and object of a fixed source, or ephemeris and orbit of an asteroid."""
        row, entry = source
        if track.name is not None:
            return {"diaObject": {}, **lsst.solar_system(row, thing, track.name, visit)}
        newest = self._size.history
        return {
            "prvDiaSources": track.sources.items(newest) or None,
            "prvDiaForcedSources": track.forced.items(newest),
            "diaObject": lsst.dia_object(row, thing, track.sources, entry, track.n_sources),
            "ssSource": {},
            "mpc_orbits": {},
        }

    def _features(self, track: _Track, entry: Entry) -> Row:
        if self._size.history is not None:
            return {entry.band: track.sources.features(entry.band, entry)}
        found = {band: track.sources.features(band, entry) for band in LSST.depth}
        return {band: row for band, row in found.items() if row["mean"] == row["mean"]}

    def _stamps(self, thing: SkyObject, found: Measurement, row: Row) -> Row:
        fwhm = 1.6 if thing.kind == "bogus" else found.visit.fwhm
        scene = Scene(
            side=self._size.stamp_side,
            fwhm=fwhm,
            difference_flux=found.flux,
            reference_flux=found.reference_flux,
            reference_offset=REFERENCE_OFFSET[thing.kind],
            background=0.0,
            noise=found.flux_err / (1.5 * found.visit.fwhm),
        )
        stamps = draw(scene, self._pool, row["diaSourceId"])
        cards = _cards(row)
        if self._size.history is not None:
            return {"cutoutDifference": fits_unit("SIMPLE", stamps.difference, cards)}
        variance = np.abs(stamps.science) * np.float32(0.02) + np.float32(scene.noise**2)
        return {
            "cutoutDifference": _file(stamps.difference, variance, cards, PSF_SIDE),
            "cutoutScience": _file(stamps.science, variance, cards, PSF_SIDE),
            "cutoutTemplate": _file(stamps.template, variance * np.float32(0.01), cards, TEMPLATE_PSF_SIDE),
        }


def _cards(row: Row) -> tuple[Card, ...]:
    degrees = lsst.ARCSEC_PER_PIXEL / 3600.0
    return (
        ("EXTEND", True),
        ("CUTMINX", int(row["x"]) - 15),
        ("CUTMINY", int(row["y"]) - 15),
        ("ROTPA", 0.0),
        ("BUNIT", "nJy"),
        ("WCSAXES", 2),
        ("CRPIX1", 15.5),
        ("CRPIX2", 15.5),
        ("CDELT1", -degrees),
        ("CDELT2", degrees),
        ("CTYPE1", "RA---TAN"),
        ("CTYPE2", "DEC--TAN"),
        ("CRVAL1", row["ra"]),
        ("CRVAL2", row["dec"]),
        ("MJDREF", 0.0),
    )


def _file(image: Image, variance: Image, cards: tuple[Card, ...], psf_side: int) -> bytes:
    uncertainty = (("UTYPE", "VarianceUncertainty"), ("EXTNAME", "UNCERT"))
    return b"".join(
        [
            fits_unit("SIMPLE", image, cards),
            fits_unit("XTENSION", variance, uncertainty),
            _psf_image(psf_side),
        ]
    )


@lru_cache(maxsize=8)
def _psf_image(side: int) -> bytes:
    shape = point_source(side, round(10 * LSST.fwhm)).astype(np.float64)
    return fits_unit("XTENSION", shape / shape.sum(), (("EXTNAME", "PSFIMAGE"),))
