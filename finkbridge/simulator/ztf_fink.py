"""What Fink adds to a ZTF alert: cross-matches, scores, classes and times."""

from __future__ import annotations

import math
from typing import Any

from finkbridge.simulator.history import BrokerTimes, Entry, History
from finkbridge.simulator.nights import JD_MINUS_MJD, time_text
from finkbridge.simulator.objects import Measurement, SkyObject

Row = dict[str, Any]

ANOMALY_SCORES = ("", "_beta", "_anais", "_emille", "_julien", "_maria", "_emille_30days", "_varvara")


def catalogues(thing: SkyObject) -> Row:
    """Return the cross-matches, the same in each alert of an object, with Fink's words for 'no match'."""
    rng = thing.rng
    star = thing.kind == "variable"
    gaia = star or rng.random() < 0.3
    known = star and rng.random() < 0.8
    return {
        "cdsxmatch": _simbad(thing, known=known),
        "DR3Name": f"Gaia DR3 {rng.randrange(10**18, 6 * 10**18)}" if gaia else "nan",
        "Plx": rng.uniform(-0.2, 1.6) if gaia else math.nan,
        "e_Plx": rng.uniform(0.02, 0.2) if gaia else math.nan,
        "gaiaVarFlag": int(known),
        "gaiaClass": "RR" if known else rng.choices(["nan", "Unknown", "Fail 503"], [90, 8, 2])[0],
        "vsx": "RRAB" if known else "nan",
        "spicy_id": -1,
        "spicy_class": "Unknown",
        "gcvs": "RRAB" if known and thing.serial % 3 == 0 else "Unknown",
        "x3hsp": "Unknown",
        "x4lac": "Unknown",
        "mangrove": _mangrove(thing),
    }


def _simbad(thing: SkyObject, *, known: bool) -> str:
    if known:
        return "RRLyr"
    galaxy = 0.25 if thing.kind == "supernova" else 0.0
    return thing.rng.choices(["Galaxy", "Fail 503", "Unknown"], [galaxy, 0.02, 1.0 - galaxy])[0]


def _mangrove(thing: SkyObject) -> dict[str, str]:
    if thing.kind != "supernova" or thing.rng.random() > 0.2:
        return dict.fromkeys(("HyperLEDA_name", "2MASS_name", "lum_dist", "ang_dist"), "None")
    distance = thing.rng.uniform(50.0, 220.0)
    redshift = distance / 4283.0
    return {
        "HyperLEDA_name": f"PGC{thing.rng.randrange(10**6):06d}",
        "2MASS_name": "None",
        "lum_dist": f"{distance:.9f}",
        "ang_dist": f"{distance / (1.0 + redshift) ** 2:.9f}",
    }


def scores(thing: SkyObject, n_points: int) -> Row:
    """Return the classifiers' scores: 0, -1 or null while there are too few points."""
    rng = thing.rng
    supernova = thing.kind == "supernova"
    mature = n_points >= 4
    odd = -0.014 + rng.gauss(0.0, 0.0015)
    return {
        "roid": 3 if thing.kind == "asteroid" else 0,
        "rf_snia_vs_nonia": round(rng.uniform(0.45, 0.95), 3) if supernova and mature else 0.0,
        "snn_snia_vs_nonia": rng.uniform(0.5, 0.95) if supernova else rng.uniform(0.01, 0.45),
        "snn_sn_vs_all": rng.uniform(0.55, 0.97) if supernova else rng.uniform(0.0, 0.35),
        "mulens": 0.0,
        "rf_kn_vs_nonkn": round(rng.uniform(0.0, 0.25), 3) if supernova and not mature else 0.0,
        "slsn_score": rng.betavariate(1.0, 12.0) if supernova and mature else -1.0,
        "is_transient": supernova,
        "blazar_stats": {"m1": -1.0, "m2": -1.0, "m0": -1.0},
    } | {f"anomaly_score{name}": odd + rng.gauss(0.0, 0.001) if mature else None for name in ANOMALY_SCORES}


def classes(thing: SkyObject, simbad: str, n_alerts: int) -> Row:
    """Return Fink's class and the Transient Name Server's, once it has one."""
    named = thing.kind == "supernova" and n_alerts > 5 and thing.serial % 4 == 0
    tns = ("SN Ia", "SN II")[thing.serial // 4 % 2] if named else ""
    return {
        "finkclass": _fink_class(thing.kind, simbad, n_alerts),
        "tns": tns,
        "tnsclass": f"(TNS) {tns}" if named else "Unknown",
        "tracklet": None,
    }


def _fink_class(kind: str, simbad: str, n_alerts: int) -> str:
    if kind == "supernova":
        return "Early SN Ia candidate" if n_alerts <= 4 else "SN candidate"
    if kind == "asteroid":
        return "Solar System MPC"
    return simbad if kind == "variable" else "Unknown"


def rates(now: Entry, history: History) -> Row:
    """Return how fast the brightness changes since the last measurement or limit in the same band."""
    before = history.last(lambda entry: entry.band == now.band)
    if before is None:
        return {"from_upper": False}
    days = now.mjd - before.mjd
    rate = (now.value - before.value) / days
    sigma = math.hypot(now.err, before.err) / days
    return {
        "mag_rate": rate,
        "sigma_rate": sigma,
        "lower_rate": rate - 1.645 * sigma,
        "upper_rate": rate + 1.645 * sigma,
        "delta_time": days,
        "from_upper": not before.detected,
    }


def first_seen(found: Measurement, history: History, first_mjd: float) -> Row:
    """Return when the object first appeared, in the history and before."""
    real = next((entry.mjd for entry in history.entries if entry.detected), found.visit.mjd)
    return {
        "jd_first_real_det": round(real + JD_MINUS_MJD, 7),
        "jdstarthist_dt": max(real - first_mjd, 0.0),
    }


def broker_columns(mjd: float, times: BrokerTimes) -> Row:
    """Return Fink's versions and times; `mjd` is the exposure's."""
    shown = time_text(mjd)
    return {
        "schemavsn": "4.02",
        "publisher": "Fink",
        "brokerIngestTimestamp": time_text(times.ingest),
        "brokerStartProcessTimestamp": time_text(times.start),
        "brokerEndProcessTimestamp": time_text(times.end),
        "fink_broker_version": "4.1",
        "fink_science_version": "8.41.0",
        "timestamp": shown,
        "year": int(shown[:4]),
        "month": int(shown[5:7]),
        "day": int(shown[8:10]),
    }
