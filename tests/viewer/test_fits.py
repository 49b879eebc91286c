"""FITS bytes: real ones as astropy reads them, hostile ones refused in little time and memory."""

from __future__ import annotations

import gzip
import io
import math
import tracemalloc
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.simulator.cutouts import fits_unit
from finkbridge.viewer.cutouts import MAX_FITS_BYTES, cutouts, fits_bytes, stamps
from finkbridge.viewer.fits import FitsError, read_image
from tests.support.lake import real_alerts
from tests.viewer.alerts import header, image, ztf

SIMPLE = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": 4, "NAXIS2": 4}


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_real_cutouts_are_astropys(shared_data: Path, survey: str) -> None:
    seen = 0
    for alert in real_alerts(shared_data / survey).alerts:
        for stamp in stamps(alert, survey):
            data = fits_bytes(stamp.data)
            got = read_image(data)
            with warnings.catch_warnings(action="ignore"), fits.open(io.BytesIO(data)) as units:
                np.testing.assert_array_equal(got.pixels, units[0].data.astype(np.float64))
                assert got.cards["BUNIT"] == units[0].header["BUNIT"]
                if survey == "lsst":
                    assert got.number("PC1_2") == units[0].header["PC1_2"]
            seen += 1
    assert seen == 3 * {"ztf": 31, "lsst": 7}[survey]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_every_kind_of_pixels_is_astropys(kind: type) -> None:
    pixels = np.arange(12).reshape(3, 4).astype(kind)
    unit = fits.PrimaryHDU(pixels)
    if np.issubdtype(kind, np.signedinteger):
        unit.header["BLANK"] = 5
    unit.header["BSCALE"], unit.header["BZERO"] = 0.5, 100.0
    stream = io.BytesIO()
    fits.HDUList([unit]).writeto(stream)
    raw = read_image(stream.getvalue())
    with fits.open(io.BytesIO(stream.getvalue())) as units:
        np.testing.assert_allclose(raw.pixels, units[0].data, rtol=1e-6)


def test_the_image_may_come_behind_others() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "10J", array=np.ones((50, 10)))])
    pixels = np.arange(6.0).reshape(2, 3)
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(pixels)]).writeto(stream)
    np.testing.assert_array_equal(read_image(stream.getvalue()).pixels, pixels)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no image"),
        (b"no FITS at all", "no FITS at byte 0"),
        (header(**SIMPLE), "it is cut"),
        (header(**SIMPLE)[:200], "its header has no end"),
        (b"SIMPLE  =                    T".ljust(80) * 100_000, "more than 1000 cards"),
        (header(**SIMPLE | {"NAXIS1": 10**9, "NAXIS2": 10**9}) + bytes(64), "it claims"),
        (header(**SIMPLE | {"NAXIS1": 2, "NAXIS2": 10**17}) + bytes(64), "it claims"),
        (header(**SIMPLE | {"NAXIS1": -4}) + bytes(64), "an axis is negative"),
        (header(**SIMPLE | {"NAXIS": 999}) + bytes(64), "999 axes"),
        (header(**SIMPLE | {"NAXIS": "nan"}) + bytes(64), "NAXIS is no number"),
        (header(**SIMPLE | {"NAXIS1": "9" * 60}) + bytes(64), "NAXIS1 is no number"),
        (header(**SIMPLE | {"BITPIX": 7}) + bytes(64), "BITPIX is 7"),
        (header(**SIMPLE | {"NAXIS": 3, "NAXIS3": 10**17}), "no image"),
        (header(**SIMPLE | {"NAXIS": 0, "PCOUNT": -(10**17)}), "its size is negative"),
    ],
)
def test_hostile_headers_are_refused(data: bytes, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FitsError, match=reason):
            read_image(data)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400))
def test_any_bytes_give_an_image_or_a_reason(junk: bytes) -> None:
    for data in (junk, header(**SIMPLE) + junk, junk.join([header(**SIMPLE)[:400], header(**SIMPLE)[400:]])):
        with suppress(FitsError):
            assert read_image(data).pixels.ndim == 2


def test_gzip_bombs_and_damage() -> None:
    bomb = gzip.compress(image() + bytes(MAX_FITS_BYTES))
    assert len(bomb) < 100_000
    with pytest.raises(FitsError, match="more than 32 MB"):
        fits_bytes(bomb)
    for junk in (b"notgz", gzip.compress(b"no image")):
        with pytest.raises(FitsError, match="no FITS at byte 0"):
            fits_bytes(junk)
    with pytest.raises(FitsError, match="cut"):
        fits_bytes(gzip.compress(image())[:-9])
    with pytest.raises(FitsError, match="damaged"):
        fits_bytes(gzip.compress(image())[:10] + b"\x07" * 30)  # a block of no type
    assert fits_bytes(gzip.compress(image())) == fits_bytes(image()) == image()


@pytest.mark.parametrize(
    ("stamp", "problem"),
    [
        (None, "not in the alert"),
        ({"stampData": None}, "not in the alert"),
        ("text", "not in the alert"),
        ({"stampData": b"\x1f\x8b junk"}, "its gzip is damaged"),
        ({"stampData": image(value=math.nan)}, "no pixel has a value"),
        ({"stampData": gzip.compress(bytes(MAX_FITS_BYTES + 1))}, "more than 32 MB"),
    ],
)
def test_three_cutouts_whatever_they_are(stamp: object, problem: str) -> None:
    got = cutouts(ztf(cutoutTemplate=stamp), "ztf")
    assert [c.name for c in got] == ["Science", "Template", "Difference"]
    assert [c.pixels is None for c in got] == [False, True, False]
    assert problem in got[1].problem


def test_north_of_real_ztf_stamps_is_up(shared_data: Path) -> None:
    """The reference source that an alert names lies where our picture has that direction."""
    brighter = fainter = 0
    for alert in real_alerts(shared_data / "ztf").alerts:
        at, template = alert["candidate"], cutouts(alert, "ztf")[1]
        assert template.pixels is not None
        if at["distnr"] < 1.5 or template.pixels.shape != (63, 63):
            continue
        east = (at["ranr"] - at["ra"]) * math.cos(math.radians(at["dec"])) * 3600 / 1.012
        north = (at["decnr"] - at["dec"]) * 3600 / 1.012
        here, mirrored = (flux_at(template.pixels, -east, sign * north) for sign in (1, -1))
        if abs(here - mirrored) > 5:
            brighter, fainter = brighter + (here > mirrored), fainter + (here < mirrored)
    assert brighter >= 4
    assert brighter > 3 * fainter


def test_differences_of_real_ztf_stamps_are_bright_whatever_their_sign(shared_data: Path) -> None:
    """That is why the picture of a source that faded says: template - science."""
    signs = set()
    for alert in real_alerts(shared_data / "ztf").alerts:
        difference = cutouts(alert, "ztf")[2].pixels
        if difference is not None and difference.shape == (63, 63):
            assert np.nanmax(difference[29:34, 29:34]) > -np.nanmin(difference[29:34, 29:34])
            signs.add(alert["candidate"]["isdiffpos"])
    assert signs == {"t", "f"}


def flux_at(pixels: np.ndarray, right: float, up: float) -> float:
    x, y = round(31 + right), round(31 + up)
    return float(np.nanmedian(pixels[y - 1 : y + 2, x - 1 : x + 2])) if 1 <= x < 62 and 1 <= y < 62 else 0.0


@pytest.mark.parametrize("angle", [0, 30, 135, 250])
def test_lsst_compass_follows_the_header(angle: float) -> None:
    cos, sin, degree = math.cos(math.radians(angle)), math.sin(math.radians(angle)), 0.2 / 3600
    cards = (
        ("PC1_1", -cos * degree),
        ("PC1_2", sin * degree),
        ("PC2_1", sin * degree),
        ("PC2_2", cos * degree),
        ("CDELT1", 1.0),
        ("CDELT2", 1.0),
    )
    data = fits_unit("SIMPLE", np.ones((4, 4), np.float32), cards)
    (science, *_) = cutouts({"cutoutScience": data}, "lsst")
    assert science.arcsec == pytest.approx(0.2)
    assert science.north == pytest.approx((sin, cos), abs=1e-6)
    assert science.east == pytest.approx((-cos, sin), abs=1e-6)


@pytest.mark.parametrize(
    "values", [(1e308, 1e-5, 1e-5, 0.0), (-5e-5, 1e308, 0.0, 5e-5), (0.0, 1e-5, 1e-5, 1e308)]
)
def test_a_matrix_of_hostile_numbers_gives_no_compass(values: tuple[float, ...]) -> None:
    cards = dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), values, strict=True))
    said = header(SIMPLE="T", BITPIX=-32, NAXIS=2, NAXIS1=4, NAXIS2=4, **cards)
    data = said + np.ones((4, 4), ">f4").tobytes()
    (science, *_) = cutouts({"cutoutScience": data}, "lsst")
    assert (science.arcsec, science.north, science.east) == (None, None, None)


def test_a_matrix_that_is_none_gives_no_compass() -> None:
    cards = tuple((f"CD{n}", 0.0) for n in ("1_1", "1_2", "2_1", "2_2"))
    (science, *_) = cutouts(
        {"cutoutScience": fits_unit("SIMPLE", np.ones((4, 4), np.float32), cards)}, "lsst"
    )
    assert (science.arcsec, science.north, science.east) == (None, None, None)
