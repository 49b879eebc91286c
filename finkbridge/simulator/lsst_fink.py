"""What Fink adds to an LSST alert: classifiers, cross-matches, predictions and times."""

from __future__ import annotations

from typing import Any

from finkbridge.simulator.history import BrokerTimes
from finkbridge.simulator.nights import time_text
from finkbridge.simulator.objects import SkyObject

Row = dict[str, Any]

CATS_CLASS = {"supernova": 11, "variable": 21, "asteroid": -1, "bogus": 22}
"""Broad classes: 11 supernova-like, 21 periodic, 22 variable without period, -1 not classified."""


def crossmatches(thing: SkyObject) -> Row:
    """Return the struct `xm`, the same in each alert of an object; null where nothing matches."""
    rng = thing.rng
    star, supernova = thing.kind == "variable", thing.kind == "supernova"
    row: Row = {"gaiadr3_VarFlag": int(star)}
    if star or rng.random() < 0.2:
        row |= {
            "gaiadr3_DR3Name": f"Gaia DR3 {rng.randrange(10**18, 6 * 10**18)}",
            "gaiadr3_Plx": rng.uniform(-0.1, 1.9),
            "gaiadr3_e_Plx": rng.uniform(0.05, 0.7),
        }
    if star and thing.serial % 3 != 0:
        row |= {"simbad_otype": "RRLyr", "vsx_Type": "RRAB"}
    if supernova and rng.random() < 0.6:
        row |= {
            "legacydr8_zphot": rng.uniform(0.02, 0.9),
            "legacydr8_e_zphot": rng.uniform(0.02, 0.4),
            "legacydr8_pstar": 0.0,
            "legacydr8_fqual": 1,
        }
    if supernova and thing.serial % 4 == 0:
        row |= _named(thing)
    return row


def _named(thing: SkyObject) -> Row:
    letters = "".join(thing.rng.choices("abcdefghijklmnopqrstuvwxyz", k=3))
    return {
        "tns_fullname": f"SN 2026{letters}",
        "tns_type": ("SN Ia", "SN II")[thing.serial // 4 % 2],
        "tns_redshift": thing.rng.uniform(0.02, 0.3),
        "mangrove_HyperLEDA_name": f"PGC{thing.rng.randrange(10**6):06d}",
        "mangrove_lum_dist": thing.rng.uniform(50.0, 220.0),
    }


def verdicts(thing: SkyObject, matches: Row, n_sources: int, first_tai: float) -> Row:
    """Return the structs `clf`, `pred` and `misc`."""
    rng, moving, cats = thing.rng, thing.kind == "asteroid", CATS_CLASS[thing.kind]
    supernova = thing.kind == "supernova"
    early = supernova and 2 < n_sources <= 60
    return {
        "xm": matches,
        "clf": {
            "snnSnVsOthers_score": rng.uniform(0.55, 0.97) if supernova else rng.uniform(0.0, 0.4),
            "cats_class": cats,
            "cats_score": 0.0 if cats == -1 else rng.uniform(0.7, 1.0),
            "earlySNIa_score": rng.uniform(0.3, 0.95) if early else -1.0,
        },
        "pred": {
            "is_sso": moving,
            "is_first": None if moving else n_sources == 1,
            "is_cataloged": "gaiadr3_DR3Name" in matches,
            "main_label_classifier": cats,
            "main_label_crossmatch": matches.get("simbad_otype"),
        },
        "misc": {"firstDiaSourceMjdTaiFink": first_tai},
        "tns_type_recomputed": matches.get("tns_type", "Unknown"),
    }


def broker_columns(midpoint_tai: float, times: BrokerTimes) -> Row:
    """Return Fink's versions and times; its `timestamp` takes TAI for UTC, as the real one does."""
    shown = time_text(midpoint_tai)
    return {
        "brokerIngestMjd": times.ingest,
        "lsst_schema_version": "lsst.v10_0",
        "brokerStartProcessTimestamp": time_text(times.start),
        "brokerEndProcessTimestamp": time_text(times.end),
        "fink_broker_version": "4.1",
        "fink_science_version": "8.39.0",
        "publisher": "Fink",
        "timestamp": shown,
        "year": int(shown[:4]),
        "month": int(shown[5:7]),
        "day": int(shown[8:10]),
    }
