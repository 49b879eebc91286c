from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from finkbridge.simulator.cutouts import NoisePool, Scene, draw, fits_unit, gzipped, point_source
from tests.simulator.conftest import Decoded, make

SCENE = Scene(
    side=63,
    fwhm=2.2,
    difference_flux=900.0,
    reference_flux=2000.0,
    reference_offset=(3.0, -2.0),
    background=150.0,
    noise=5.0,
)


def test_science_is_template_plus_difference_and_shows_the_source() -> None:
    stamps = draw(SCENE, NoisePool(1), 12345)
    np.testing.assert_array_equal(stamps.science, stamps.template + stamps.difference)
    assert np.unravel_index(stamps.difference.argmax(), (63, 63)) == (31, 31)
    assert np.unravel_index(stamps.template.argmax(), (63, 63)) == (29, 34)
    assert stamps.difference[25:38, 25:38].sum() == pytest.approx(900.0, abs=5 * 5.0 * 13)
    assert np.std(stamps.difference[:20]) == pytest.approx(5.0, rel=0.1)


def test_the_place_chooses_the_noise() -> None:
    pool = NoisePool(1)
    first, again, other = (draw(SCENE, pool, place).difference for place in (7, 7, 8_000_001))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_point_source_has_flux_one() -> None:
    assert point_source(63, 22, 5, -7).sum() == pytest.approx(1.0, abs=1e-4)


def test_fits_unit_is_valid() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    data = fits_unit("SIMPLE", image, (("BUNIT", "nJy"), ("CRVAL1", -1.25e-7), ("N", 3), ("MJDREF", 0.0)))
    assert len(data) == 2 * 2880
    with fits.open(io.BytesIO(data)) as units:
        units.verify("exception")
        np.testing.assert_array_equal(units[0].data, image)
        header = units[0].header
        assert [header[k] for k in ("BUNIT", "CRVAL1", "N", "MJDREF")] == ["nJy", -1.25e-7, 3, 0.0]


def test_gzip_has_no_time() -> None:
    assert gzipped(b"abc")[4:8] == bytes(4)
    assert gzip.decompress(gzipped(b"abc" * 100)) == b"abc" * 100


def test_ztf_stamps(ztf: list[Decoded]) -> None:
    for decoded in ztf[::60]:
        stamps = {}
        for name in ("Science", "Template", "Difference"):
            cutout = decoded.content[f"cutout{name}"]
            assert str(decoded.alert.source_id) in cutout["fileName"]
            raw = gzip.decompress(cutout["stampData"])
            assert len(raw) == 7 * 2880
            with fits.open(io.BytesIO(raw)) as units:
                units.verify("exception")
                stamps[name] = units[0].data.astype(np.float32)
                assert units[0].header["BITPIX"] == -32
            assert stamps[name].shape == (63, 63)
        np.testing.assert_array_equal(stamps["Science"], stamps["Template"] + stamps["Difference"])
        sign = 1.0 if decoded.content["candidate"]["isdiffpos"] == "t" else -1.0
        centre = sign * stamps["Difference"][30:33, 30:33].mean()
        assert centre > 3 * stamps["Difference"][:20].std() / 3


def test_lsst_stamps(lsst: list[Decoded]) -> None:
    for decoded in lsst[::8]:
        for name, size, psf in (("Science", 34560, 41), ("Template", 46080, 55), ("Difference", 34560, 41)):
            raw = decoded.content[f"cutout{name}"]
            assert len(raw) == size
            with fits.open(io.BytesIO(raw)) as units:
                units.verify("exception")
                assert [unit.name for unit in units] == ["PRIMARY", "UNCERT", "PSFIMAGE"]
                assert units[0].data.shape == units[1].data.shape == (30, 30)
                assert (units[1].data > 0).all()
                assert units[2].data.shape == (psf, psf)
                assert units[2].data.sum() == pytest.approx(1.0)
                assert units[0].header["CRVAL1"] == pytest.approx(
                    decoded.content["diaSource"]["ra"], abs=1e-9
                )


@pytest.mark.parametrize("survey", ["ztf", "lsst"])
def test_small_stamps_are_valid_and_show_the_source(survey: str) -> None:
    for decoded in make(survey, n=30, size="small"):
        raw = decoded.content["cutoutDifference"]
        raw = gzip.decompress(raw["stampData"]) if survey == "ztf" else raw
        with fits.open(io.BytesIO(raw)) as units:
            units.verify("exception")
            image = np.abs(units[0].data)
        assert image.shape == (15, 15)
        assert image[6:9, 6:9].mean() > 1.5 * np.median(image)
