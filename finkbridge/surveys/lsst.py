"""LSST: the alerts of the Vera C. Rubin Observatory, with what Fink adds to them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finkbridge.surveys import photometry
from finkbridge.surveys.base import Description, Essentials, arrow_of, description
from finkbridge.surveys.columns import OwnColumn
from finkbridge.surveys.fields import AlertFields
from finkbridge.surveys.times import lsst_night, parse_utc, utc_of_tai

SIGNATURE = {"diaSourceId": (), "diaSource": ("midpointMjdTai", "ra", "dec")}
"""Fields by which a schema is known as LSST's: at the top, and inside a record there."""

CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")

_SOURCES = (
    "none of diaSource.diaObjectId, mpc_orbits.designation, ssSource.designation, ssObjectId",
    "diaSourceId",
    "diaSource.midpointMjdTai",
    "diaSource.ra",
    "diaSource.dec",
)


def describe(alerts: pa.Table) -> Description:
    """Describe LSST alerts; see `finkbridge.surveys.describe`."""
    fields = AlertFields(alerts)
    mjd_tai = fields.numbers("diaSource.midpointMjdTai")
    ra, dec = fields.numbers("diaSource.ra"), fields.numbers("diaSource.dec")
    essentials = Essentials(
        _object_id(fields), fields.integers("diaSourceId"), utc_of_tai(mjd_tai), ra, dec, _SOURCES
    )
    common = _photometry(fields) | _context(fields)
    return description(fields, essentials, lsst_night(mjd_tai), common, OWN_COLUMNS)


def _object_id(fields: AlertFields) -> pa.Array:
    """Return a diaObject's number, else a moving object's designation, else its number marked ``ss:``."""
    ss_numbers = [_nonzero_text(fields, path) for path in ("diaSource.ssObjectId", "ssSource.ssObjectId")]
    return pc.coalesce(
        _nonzero_text(fields, "diaSource.diaObjectId"),
        fields.text("mpc_orbits.designation"),
        fields.text("ssSource.designation"),
        pc.binary_join_element_wise("ss:", pc.coalesce(*ss_numbers), ""),
    )


def _nonzero_text(fields: AlertFields, path: str) -> pa.Array:
    return fields.read(path, pa.int64(), not_computed=0).cast(pa.string())


def _photometry(fields: AlertFields) -> dict[str, pa.Array]:
    flux, flux_err = fields.numbers("diaSource.psfFlux"), fields.numbers("diaSource.psfFluxErr")
    is_positive = pc.invert(fields.read("diaSource.isNegative", pa.bool_()))
    return {
        "band": fields.text("diaSource.band"),
        "mag": arrow_of(photometry.mag_of_flux(flux), pa.float32()),
        "mag_err": arrow_of(photometry.mag_err_of_flux_err(flux, flux_err), pa.float32()),
        "flux": arrow_of(flux, pa.float32()),
        "flux_err": arrow_of(flux_err, pa.float32()),
        "is_positive": pc.coalesce(is_positive, pa.array(flux > 0, mask=np.isnan(flux))),
    }


def _context(fields: AlertFields) -> dict[str, pa.Array]:
    label = fields.read("pred.main_label_classifier", pa.int32(), not_computed=-1).cast(pa.string())
    ended, observed = (parse_utc(fields.text(name)) for name in ("brokerEndProcessTimestamp", "timestamp"))
    return {
        "reliability": fields.read("diaSource.reliability", pa.float32()),
        "n_det": fields.read("diaObject.nDiaSources", pa.int32()),
        "class": pc.coalesce(label, fields.text("pred.main_label_classifier")),
        "simbad": fields.text("xm.simbad_otype"),
        "tns": fields.text("xm.tns_type"),
        "sso_name": fields.text("mpc_orbits.designation"),
        "emitted": pc.coalesce(ended, observed),
    }


_F32, _F64, _I32, _I64 = pa.float32(), pa.float64(), pa.int32(), pa.int64()
_BOOL, _TEXT = pa.bool_(), pa.string()


def _source(name: str, arrow_type: pa.DataType, description: str, unit: str = "") -> OwnColumn:
    return OwnColumn(f"diaSource.{name}", arrow_type, description, unit, name)


OWN_COLUMNS = (
    _source("snr", _F32, "Signal-to-noise ratio of the detection"),
    _source("extendedness", _F32, "How extended the source is: 0 is a point, 1 is extended"),
    _source("visit", _I64, "Visit (exposure) of the detection: YYYYMMDD of the night and a running number"),
    _source("detector", _I32, "Detector of the camera"),
    _source("ssObjectId", _I64, "Number of the associated solar system object; 0 if none"),
    _source("scienceFlux", _F32, "Flux at this place in the science image", "nJy"),
    _source("templateFlux", _F32, "Flux at this place in the template image", "nJy"),
    OwnColumn("observation_reason", _TEXT, "Why the visit was taken"),
    OwnColumn("target_name", _TEXT, "Field or target of the visit"),
    OwnColumn("clf.snnSnVsOthers_score", _F32, "SuperNNova: probability of a supernova of any type"),
    OwnColumn(
        "clf.cats_class", _I32, "Code of the likeliest class by CATS; null if not computed", not_computed=-1
    ),
    OwnColumn("clf.cats_score", _F32, "Probability of the class by CATS"),
    OwnColumn(
        "clf.earlySNIa_score",
        _F64,
        "Score of an early type Ia supernova; null if not computed",
        not_computed=-1,
    ),
    OwnColumn("clf.elephant_kstest_science", _F32, "ELEPHANT: test for a missing host, science image"),
    OwnColumn("clf.elephant_kstest_template", _F32, "ELEPHANT: test for a missing host, template image"),
    OwnColumn("xm.simbad_otype", _TEXT, "Object type of the match in SIMBAD"),
    OwnColumn("xm.gaiadr3_DR3Name", _TEXT, "Name of the match in Gaia DR3"),
    OwnColumn("xm.gaiadr3_Plx", _F32, "Parallax of the match in Gaia DR3", "mas"),
    OwnColumn("xm.gaiadr3_e_Plx", _F32, "Standard error of that parallax", "mas"),
    OwnColumn("xm.gaiadr3_VarFlag", _I32, "Whether Gaia DR3 has the match as variable: 1 yes"),
    OwnColumn("xm.legacydr8_zphot", _F32, "Photometric redshift of the match in Legacy Surveys DR8"),
    OwnColumn("xm.legacydr8_e_zphot", _F32, "Standard error of that redshift"),
    OwnColumn("xm.legacydr8_pstar", _F32, "Probability that the match in Legacy Surveys DR8 is a star"),
    OwnColumn("xm.legacydr8_fqual", _I32, "Quality flag of that redshift: 1 is good"),
    OwnColumn("xm.tns_fullname", _TEXT, "Name of the match in the Transient Name Server"),
    OwnColumn("xm.tns_type", _TEXT, "Type of the match in the Transient Name Server"),
    OwnColumn("xm.tns_redshift", _F32, "Redshift of the match in the Transient Name Server"),
    OwnColumn("xm.gcvs_type", _TEXT, "Type of the match in the General Catalogue of Variable Stars"),
    OwnColumn("xm.x3hsp_type", _TEXT, "Match in 3HSP, blazars with high synchrotron peak"),
    OwnColumn("xm.x4lac_type", _TEXT, "Match in 4LAC, active galaxies of Fermi-LAT"),
    OwnColumn("xm.vsx_Type", _TEXT, "Type of the match in the International Variable Star Index"),
    OwnColumn("xm.spicy_class", _TEXT, "Class of the match in SPICY, young stellar objects of Spitzer"),
    OwnColumn("xm.mangrove_HyperLEDA_name", _TEXT, "HyperLEDA name of the galaxy matched in Mangrove"),
    OwnColumn("xm.mangrove_2MASS_name", _TEXT, "2MASS name of the galaxy matched in Mangrove"),
    OwnColumn("xm.mangrove_lum_dist", _F32, "Luminosity distance of that galaxy", "Mpc"),
    OwnColumn("xm.mangrove_ang_dist", _F32, "Angular diameter distance of that galaxy", "Mpc"),
    OwnColumn("pred.is_sso", _BOOL, "Whether it is a known solar system object"),
    OwnColumn("pred.is_first", _BOOL, "Whether it is the first alert of its object"),
    OwnColumn("pred.is_cataloged", _BOOL, "Whether Gaia DR3 or SIMBAD knows a source there"),
    OwnColumn(
        "pred.main_label_classifier",
        _I32,
        "Fink's best class, by code; null if not computed",
        not_computed=-1,
    ),
    OwnColumn("pred.main_label_crossmatch", _TEXT, "Fink's best label from the cross-matches"),
    OwnColumn("misc.firstDiaSourceMjdTaiFink", _F64, "Time of the object's first detection, MJD in TAI", "d"),
)
