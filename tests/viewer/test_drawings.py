"""Pictures, pages and drawings: what is in them, and that nothing of a sender's is obeyed."""

from __future__ import annotations

import math
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finkbridge.errors import SaveError, SettingsError
from finkbridge.text import file_stem, plain
from finkbridge.viewer import view_of
from finkbridge.viewer.figure import figure_of, picture
from finkbridge.viewer.history import points
from finkbridge.viewer.html import page
from finkbridge.viewer.save import save
from finkbridge.viewer.stretch import flux_range, shades
from finkbridge.viewer.style import BANDS
from finkbridge.viewer.terminal import drawn
from finkbridge.viewer.view import position_text, utc_text
from tests.support.lake import RealAlerts, real_alerts
from tests.viewer.alerts import HOSTILE, elasticc, ztf

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def real_ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="module")
def real_lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


def hostile_alerts() -> list[dict[str, Any]]:
    """Return alerts that are broken in every part that is drawn."""
    candidate = ztf()["candidate"]
    wild = candidate | {"magpsf": 1e300, "sigmapsf": math.nan, "jd": 1e308, "ra": math.inf, "dec": "north"}
    return [
        {},
        {"objectId": None, "candid": None, "candidate": None},
        {"candidate": [1, 2], "prv_candidates": {"a": 1}, "objectId": 7, "candid": 2**70},
        ztf(objectId=HOSTILE, finkclass=HOSTILE * 50, cdsxmatch=HOSTILE, candidate=wild),
        ztf(prv_candidates=[wild, None, 7, {"jd": 2461100.0, "diffmaglim": -1e308, "fid": HOSTILE}]),
        ztf(candidate=candidate | {"magpsf": math.inf, "sigmapsf": -1.0, "isdiffpos": HOSTILE}),
        ztf(cutoutScience=HOSTILE.encode(), cutoutDifference={"stampData": b"\x1f\x8b"}),
        {
            "diaSourceId": HOSTILE,
            "diaSource": {"midpointMjdTai": 61105.0, "ra": 1, "dec": 2, "psfFlux": 1e38, "band": HOSTILE},
            "prvDiaForcedSources": [
                {"midpointMjdTai": 61100.0 + n, "psfFlux": -1e30, "band": "$x"} for n in range(3)
            ],
        },
    ]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(PNG)
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_every_real_alert_is_a_picture(real_ztf: RealAlerts, real_lsst: RealAlerts) -> None:
    for alert in (*real_ztf.alerts[:4], *real_lsst.alerts[:3]):
        assert size(picture(alert)) == (990, 770)


def test_ztf_magnitudes_have_both_signs_and_limits(real_ztf: RealAlerts) -> None:
    alert = next(
        a for a in real_ztf.alerts if a["candidate"]["isdiffpos"] == "f" and len(a["prv_candidates"]) > 20
    )
    view = view_of(alert, topics=["fink_a_ztf", "fink_b_ztf"])
    history = alert["prv_candidates"]
    assert sum(p.kind == "upper_limit" for p in view.points) == sum(e["magpsf"] is None for e in history)
    assert len(view.points) == 1 + len(history)
    assert view.current is not None
    assert view.current.is_positive is False
    assert view.current.flux is not None
    assert view.current.flux < 0
    figure = figure_of(view)
    curve = figure.axes[3]
    low, high = curve.get_ylim()
    assert low > high  # faint below
    legend = {text.get_text() for text in curve.get_legend().get_texts()}
    assert {"this alert", "brighter", "fainter", "5-sigma limit"} <= legend
    assert {p.band for p in view.points} <= legend
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "Science",
        "Template",
        "Difference (template - science)",
    ]
    assert "fink_a_ztf, fink_b_ztf" in figure.get_supxlabel()


def test_lsst_fluxes_have_forced_photometry_and_zero(real_lsst: RealAlerts) -> None:
    alert = real_lsst.alerts[0]
    view = view_of(alert)
    kinds = [p.kind for p in view.points]
    assert kinds.count("forced") == len(alert["prvDiaForcedSources"])
    assert kinds.count("history") == len(alert["prvDiaSources"])
    assert kinds.count("alert") == 1
    curve = figure_of(view).axes[3]
    low, high = curve.get_ylim()
    assert low < 0 < high
    assert (low, high) == flux_range(view.points)
    assert "forced" in {text.get_text() for text in curve.get_legend().get_texts()}
    assert curve.get_ylabel() == "Difference flux (nJy)"


def test_elasticc_has_a_light_curve_and_names() -> None:
    view = view_of(elasticc())
    assert (view.survey, view.title, view.source_id) == ("other", "747", "1494043")
    assert (view.ra, view.dec, view.cutouts, view.is_empty) == (49.0, -41.0, (), False)
    assert [(p.kind, p.band) for p in view.points] == [("history", "g"), ("forced", "g"), ("alert", "y")]
    assert view.current is view.points[-1]
    # as is known of the challenge: a flux of 1 is 27.5 mag
    assert view.current.mag == pytest.approx(22.5)
    assert view.current.flux == pytest.approx(10 ** ((31.4 - 22.5) / 2.5))
    assert view.current.flux_err == pytest.approx(view.current.flux / 10)
    assert view.points[0].is_positive is False
    text = "\n".join(drawn(view))
    assert "not in the alert" not in text
    assert "bands g y   @ this alert" in text
    assert len(figure_of(view).axes) == 1  # the curve: no place for images
    assert picture(elasticc()).startswith(PNG)


@pytest.mark.parametrize("broken", [None, 7, [], {"midPointTai": "x"}, {"midPointTai": 6e4, "psFlux": "?"}])
def test_broken_elasticc_is_drawn_all_the_same(broken: Any) -> None:
    alert = elasticc(diaSource=broken, prvDiaSources=[broken])
    assert list(drawn(view_of(alert)))
    assert picture(alert).startswith(PNG)


def test_one_point_has_a_day_around_it() -> None:
    view = view_of(ztf())
    begin, end = figure_of(view).axes[3].get_xlim()
    assert (begin, end) == (pytest.approx(view.points[0].mjd - 0.5), pytest.approx(view.points[0].mjd + 0.5))


@pytest.mark.parametrize("mag", [1e17, 1e20, 1e29, -1e29, -500.0])
def test_a_magnitude_alone_is_drawn_whatever_it_is(mag: float) -> None:
    alert = ztf()
    alert["candidate"]["magpsf"] = mag
    view = view_of(alert)
    assert view.points[0].mag == mag
    assert "bands r" in "\n".join(drawn(view))


def test_bands_differ_in_colour_and_marker() -> None:
    assert len({b.colour for b in BANDS.values()}) == len({b.marker for b in BANDS.values()}) == len(BANDS)
    assert "v" not in {b.marker for b in BANDS.values()}


@pytest.mark.parametrize("number", range(8))
def test_hostile_alerts_are_drawn_all_the_same(number: int) -> None:
    alert = hostile_alerts()[number]
    assert size(picture(alert, topics=[HOSTILE]))
    text = "\n".join(drawn(view_of(alert, topics=[HOSTILE])))
    assert re.fullmatch(r"[\n -~]*", text)
    html = page([view_of(alert, topics=[HOSTILE])]).decode()
    assert "<script" not in html
    assert "\0" not in html


def test_a_page_needs_nothing_else(real_ztf: RealAlerts) -> None:
    html = page([view_of(real_ztf.alerts[0]), view_of(real_ztf.alerts[1])]).decode()
    assert html.count("<section>") == html.count("data:image/png;base64,") == 2
    assert not re.search(r"https?://|<script|javascript:", html)
    assert "default-src 'none'" in html
    assert "16.449" in html


def test_terminal_is_plain_and_within_its_width(real_ztf: RealAlerts, real_lsst: RealAlerts) -> None:
    for alert in (*real_ztf.alerts, *real_lsst.alerts):
        for columns in (60, 80, 132):
            lines = list(drawn(view_of(alert), columns))
            assert all(re.fullmatch(r"[ -~]*", line) for line in lines)
            assert max(map(len, lines)) <= max(min(columns, 120), 60)
    text = "\n".join(drawn(view_of(real_ztf.alerts[0])))
    for wanted in (
        "ZTF26aamcbly",
        "3367463101415010117",
        "Science",
        "N up",
        "@ this alert",
        "v 5-sigma limit",
        "G",
    ):
        assert wanted in text
    assert ". forced photometry" in "\n".join(drawn(view_of(real_lsst.alerts[0])))


def test_colours_only_where_asked(real_ztf: RealAlerts) -> None:
    view = view_of(real_ztf.alerts[0])
    coloured = "\n".join(drawn(view, colours=True))
    assert "\u2580" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).isprintable() is False  # it has line ends, and
    assert re.fullmatch(r"[\n -~\u2580]*", re.sub(r"\x1b\[[0-9;]*m", "", coloured))


def test_zero_of_a_difference_is_grey(real_ztf: RealAlerts) -> None:
    for alert in real_ztf.alerts:
        for cutout in view_of(alert).cutouts:
            grey = shades(cutout)
            assert np.nanmin(grey) >= 0
            assert np.nanmax(grey) <= 1
            assert (np.isnan(grey) == np.isnan(cutout.pixels)).all()
    flat = view_of(ztf()).cutouts[2]
    assert shades(flat)[0, 0] > 0.5


def test_pictures_may_be_made_by_many_threads(real_ztf: RealAlerts) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(picture, real_ztf.alerts[:4]))
    assert made == [picture(alert) for alert in real_ztf.alerts[:4]]


@pytest.mark.parametrize(
    ("name", "files", "magic"),
    [
        ("a.png", ["a.png", "a-2.png"], PNG),
        ("a.svg", ["a.svg", "a-2.svg"], b"<?xml"),
        ("a.pdf", ["a.pdf"], b"%PDF"),
        ("a.HTML", ["a.HTML"], b"<!DOCTYPE html>"),
    ],
)
def test_files_by_their_suffix(tmp_path: Path, name: str, files: list[str], magic: bytes) -> None:
    (tmp_path / files[0]).write_bytes(b"an older one")
    views = [view_of(ztf()), view_of(ztf(candid=2))]
    assert [path.name for path in save(iter(views), tmp_path / name)] == files
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    for file in files:
        assert (tmp_path / file).read_bytes().startswith(magic)


def test_a_format_or_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no format"):
        list(save([], tmp_path / "a.jpg"))
    with pytest.raises(SettingsError, match="there is no folder"):
        list(save([], tmp_path / "absent" / "a.png"))
    (tmp_path / "a.png").mkdir()
    with pytest.raises(SaveError, match=r"a\.png cannot be written"):
        list(save([view_of(ztf())], tmp_path / "a.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_texts() -> None:
    assert utc_text(61121.4631) == "2026-03-22 11:06:51 UTC"
    assert utc_text(None) == utc_text(math.nan) == utc_text(1e300) == ""
    assert (
        position_text(267.0006792, -5.8633869) == "RA 267.000679 Dec -5.863387 deg (17:48:00.16 -05:51:48.2)"
    )
    assert position_text(359.9999999, 0.0) == "RA 360.000000 Dec +0.000000 deg (00:00:00.00 +00:00:00.0)"
    assert position_text(400.0, 0.0) == ""
    assert points({}, "other") == []


@pytest.mark.parametrize("name", [HOSTILE, "..", ".hidden", "-rf", "a/b", "", "x" * 500, "2001 AB12"])
def test_names_of_files_are_safe(name: str) -> None:
    stem = file_stem(name, "1")
    assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*", stem)
    assert len(stem) <= 90
    assert re.fullmatch(r"[ -~]*", plain(name, 50))
