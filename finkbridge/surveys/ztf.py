"""ZTF: Palomar's alerts, with what Fink adds to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from finkbridge.surveys import photometry
from finkbridge.surveys.base import Description, Essentials, arrow_of, description
from finkbridge.surveys.columns import OwnColumn
from finkbridge.surveys.fields import AlertFields
from finkbridge.surveys.times import FloatArray, mjd_of_jd, parse_utc, ztf_night

SIGNATURE = {"candid": (), "objectId": (), "candidate": ("jd", "ra", "dec")}
"""Fields by which a schema is known as ZTF's: at the top, and inside a record there."""

CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
BANDS = {1: "g", 2: "r", 3: "i"}
BRIGHTER, FAINTER = ("t", "1"), ("f", "0")
"""What ``isdiffpos`` says; both spellings are in use."""

_SOURCES = ("objectId", "candid", "candidate.jd", "candidate.ra", "candidate.dec")


def describe(alerts: pa.Table) -> Description:
    """Describe ZTF alerts; see `finkbridge.surveys.describe`."""
    fields = AlertFields(alerts)
    mjd = mjd_of_jd(fields.numbers("candidate.jd"))
    object_id, source_id = fields.text("objectId"), fields.integers("candid")
    ra, dec = fields.numbers("candidate.ra"), fields.numbers("candidate.dec")
    essentials = Essentials(object_id, source_id, mjd, ra, dec, _SOURCES)
    common = _photometry(fields) | _context(fields)
    return description(fields, essentials, ztf_night(mjd), common, OWN_COLUMNS)


def _photometry(fields: AlertFields) -> dict[str, pa.Array]:
    mag, mag_err = fields.numbers("candidate.magpsf"), fields.numbers("candidate.sigmapsf")
    sign = _sign(fields.text("candidate.isdiffpos"))
    flux = photometry.flux_of_mag(mag, sign)
    flux_err = photometry.flux_err_of_mag_err(flux, mag_err)
    return {
        "band": _band(fields.integers("candidate.fid")),
        "mag": arrow_of(mag, pa.float32()),
        "mag_err": arrow_of(mag_err, pa.float32()),
        "mag_lim": fields.read("candidate.diffmaglim", pa.float32()),
        "flux": arrow_of(flux, pa.float32()),
        "flux_err": arrow_of(flux_err, pa.float32()),
        "is_positive": pa.array(sign > 0, mask=np.isnan(sign)),
    }


def _context(fields: AlertFields) -> dict[str, pa.Array]:
    real_bogus = [fields.read(f"candidate.{name}", pa.float32()) for name in ("drb", "rb")]
    near = fields.read("candidate.ssdistnr", pa.float32())
    return {
        "reliability": pc.coalesce(*real_bogus),
        "n_det": fields.read("candidate.ndethist", pa.int32()),
        "class": fields.text("finkclass"),
        "simbad": fields.text("cdsxmatch"),
        "tns": pc.coalesce(fields.text("tnsclass"), fields.text("tns")),
        "sso_name": pc.if_else(pc.greater_equal(near, 0), fields.text("candidate.ssnamenr"), None),
        "emitted": pc.coalesce(
            parse_utc(fields.text("brokerEndProcessTimestamp")), parse_utc(fields.text("timestamp"))
        ),
    }


def _sign(isdiffpos: pa.Array) -> FloatArray:
    brighter, fainter = (_among(isdiffpos, spellings) for spellings in (BRIGHTER, FAINTER))
    return np.select([brighter, fainter], [1.0, -1.0], np.nan)


def _among(texts: pa.Array, wanted: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.is_in(texts, pa.array(wanted)).to_numpy(zero_copy_only=False)
    return found


def _band(fid: pa.Array) -> pa.Array:
    return pa.array(BANDS.values()).take(pc.index_in(fid, pa.array(BANDS.keys(), pa.int64())))


_F32, _F64, _I32, _BOOL, _TEXT = pa.float32(), pa.float64(), pa.int32(), pa.bool_(), pa.string()


def _candidate(name: str, arrow_type: pa.DataType, description: str, unit: str = "") -> OwnColumn:
    return OwnColumn(f"candidate.{name}", arrow_type, description, unit, name)


def _anomaly(name: str, model: str) -> OwnColumn:
    return OwnColumn(name, _F64, f"Anomaly score, {model}: the more negative, the rarer")


OWN_COLUMNS = (
    _candidate("rb", _F32, "Real-bogus score of ZTF's random forest, 0 to 1"),
    _candidate("drb", _F32, "Real-bogus score of ZTF's neural network, 0 to 1"),
    _candidate("distnr", _F32, "Distance to the nearest source of the reference image", "pix"),
    _candidate("magnr", _F32, "Magnitude of that reference source (PSF)", "mag"),
    _candidate("sgscore1", _F32, "Star-galaxy score of the nearest PanSTARRS source: 0 is galaxy, 1 is star"),
    _candidate("distpsnr1", _F32, "Distance to the nearest PanSTARRS source", "arcsec"),
    _candidate("jdstarthist", _F64, "Julian date of the object's first detection", "d"),
    OwnColumn("rf_snia_vs_nonia", _F64, "Random forest: probability of an early type Ia supernova"),
    OwnColumn("rf_kn_vs_nonkn", _F64, "Random forest: probability of a kilonova"),
    OwnColumn("snn_snia_vs_nonia", _F64, "SuperNNova: probability of type Ia against other supernovae"),
    OwnColumn("snn_sn_vs_all", _F64, "SuperNNova: probability of a supernova of any type"),
    OwnColumn("mulens", _F64, "Probability of microlensing"),
    _anomaly("anomaly_score", "base model"),
    _anomaly("anomaly_score_beta", "beta model"),
    _anomaly("anomaly_score_anais", "model taught by Anais"),
    _anomaly("anomaly_score_emille", "model taught by Emille"),
    _anomaly("anomaly_score_julien", "model taught by Julien"),
    _anomaly("anomaly_score_maria", "model taught by Maria"),
    _anomaly("anomaly_score_emille_30days", "model taught by Emille on 30 days"),
    _anomaly("anomaly_score_varvara", "model taught by Varvara"),
    OwnColumn(
        "slsn_score", _F64, "Probability of a superluminous supernova; null if not computed", not_computed=-1
    ),
    OwnColumn(
        "blazar_stats.m0", _F32, "Low-state statistic of a blazar, m0; null if not computed", not_computed=-1
    ),
    OwnColumn(
        "blazar_stats.m1", _F32, "Low-state statistic of a blazar, m1; null if not computed", not_computed=-1
    ),
    OwnColumn(
        "blazar_stats.m2", _F32, "Low-state statistic of a blazar, m2; null if not computed", not_computed=-1
    ),
    OwnColumn("roid", _I32, "Solar system flag: 0 no, 1 first alert, 2 candidate, 3 known object"),
    OwnColumn("is_transient", _BOOL, "Whether Fink's cuts leave the alert as a transient of unknown origin"),
    OwnColumn("mag_rate", _F64, "Rate of change of the magnitude since the last measurement", "mag/d"),
    OwnColumn("DR3Name", _TEXT, "Name of the match in Gaia DR3"),
    OwnColumn("Plx", _F32, "Parallax of the match in Gaia DR3", "mas"),
    OwnColumn("gaiaClass", _TEXT, "Class of variability of the match in Gaia DR3"),
    OwnColumn("vsx", _TEXT, "Type of the match in the International Variable Star Index"),
    OwnColumn("gcvs", _TEXT, "Type of the match in the General Catalogue of Variable Stars"),
    OwnColumn("x3hsp", _TEXT, "Match in 3HSP, blazars with high synchrotron peak"),
    OwnColumn("x4lac", _TEXT, "Match in 4LAC, active galaxies of Fermi-LAT"),
    OwnColumn("spicy_class", _TEXT, "Class of the match in SPICY, young stellar objects of Spitzer"),
    OwnColumn("tracklet", _TEXT, "Track of a satellite or debris that the alert belongs to"),
)
