from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from finkbridge.simulator.nights import night_of
from finkbridge.simulator.schemas.ztf import CANDIDATE, PRV_CANDIDATE, SCHEMA
from tests.simulator.conftest import Decoded

MAY_BE_NULL = {
    "tracklet",
    "mag_rate",
    "sigma_rate",
    "lower_rate",
    "upper_rate",
    "delta_time",
    "prv_candidates",
}


def by_object(stream: list[Decoded], kind: str) -> dict[str, list[Decoded]]:
    found = defaultdict(list)
    for decoded in stream:
        if decoded.alert.kind == kind:
            found[decoded.alert.object_id].append(decoded)
    return found


def history(decoded: Decoded) -> list[dict[str, Any]]:
    return decoded.content["prv_candidates"] or []


def test_every_field_is_filled(ztf: list[Decoded]) -> None:
    for decoded in ztf:
        content = decoded.content
        assert [name for name, value in content["candidate"].items() if value is None] == []
        empty = {name for name, value in content.items() if value is None}
        assert {name for name in empty if not name.startswith("anomaly_score")} <= MAY_BE_NULL
    assert {field["name"] for field in SCHEMA["fields"]} == set(ztf[0].content)


def test_ids_agree_with_the_night(ztf: list[Decoded]) -> None:
    for decoded in ztf:
        candidate, alert = decoded.content["candidate"], decoded.alert
        assert decoded.content["candid"] == candidate["candid"] == alert.source_id
        assert decoded.content["objectId"] == alert.object_id
        for entry in [candidate, *history(decoded)]:
            day = math.floor(entry["jd"] - 2400000.5)
            assert entry["pid"] // 10**9 == day - 57754 == entry["nid"]
            assert entry["candid"] is None or entry["candid"] // 10**6 == entry["pid"]
        assert alert.night == night_of(math.floor(candidate["jd"] - 2400000.5))
        assert alert.mjd == pytest.approx(candidate["jd"] - 2400000.5, abs=1e-7)
    assert len({decoded.alert.source_id for decoded in ztf}) == len(ztf)


def test_histories_overlap(ztf: list[Decoded]) -> None:
    """Each earlier alert is in the later histories with equal values; so is each upper limit."""
    shared = ({f["name"] for f in PRV_CANDIDATE} & {f["name"] for f in CANDIDATE}) - {
        "pdiffimfilename", "ssdistnr", "ssmagnr", "ssnamenr",
    }  # fmt: skip
    compared = 0
    for alerts in by_object(ztf, "supernova").values():
        for before, after in pairwise(alerts):
            past = {entry["pid"]: entry for entry in history(after)}
            jd = after.content["candidate"]["jd"]
            if before.content["candidate"]["jd"] > jd - 30:
                entry = past[before.content["candidate"]["pid"]]
                assert {k: entry[k] for k in shared} == {k: before.content["candidate"][k] for k in shared}
            for entry in history(before):
                assert entry["jd"] <= jd - 30 or past[entry["pid"]] == entry
            compared += 1
    assert compared > 50


def test_history_is_thirty_days_in_order(ztf: list[Decoded]) -> None:
    for decoded in ztf:
        times = [entry["jd"] for entry in history(decoded)]
        assert times == sorted(times)
        assert not times or decoded.content["candidate"]["jd"] - 30 <= times[0]
        assert not times or times[-1] < decoded.content["candidate"]["jd"]


def test_upper_limits_have_a_limit_and_nothing_else(ztf: list[Decoded]) -> None:
    limits = [entry for decoded in ztf for entry in history(decoded) if entry["magpsf"] is None]
    assert len(limits) > 100
    for entry in limits[::50]:
        assert entry["candid"] is entry["isdiffpos"] is entry["ra"] is entry["rb"] is None
        assert 17 < entry["diffmaglim"] < 23


def test_counts_agree(ztf: list[Decoded]) -> None:
    for decoded in ztf:
        candidate = decoded.content["candidate"]
        detections = [entry["jd"] for entry in history(decoded) if entry["candid"] is not None]
        assert decoded.content["nalerthist"] == len(detections) + 1 <= candidate["ndethist"]
        assert candidate["ncovhist"] >= candidate["ndethist"]
        assert candidate["jdstarthist"] <= min([*detections, candidate["jd"]])
        assert candidate["jdendhist"] == candidate["jd"]


def test_detections_have_five_sigma(ztf: list[Decoded]) -> None:
    for decoded in ztf:
        assert 0 < decoded.content["candidate"]["sigmapsf"] <= 1.0858 / 5


def test_supernova_rises_reddens_and_declines(ztf: list[Decoded]) -> None:
    curves = by_object(ztf, "supernova")
    whole = []
    for alerts in curves.values():
        points = {
            e["jd"]: e
            for a in alerts
            for e in [*history(a), a.content["candidate"]]
            if e["magpsf"] is not None
        }
        in_g = sorted((jd, e["magpsf"]) for jd, e in points.items() if e["fid"] == 1)
        in_r = sorted((jd, e["magpsf"]) for jd, e in points.items() if e["fid"] == 2)
        peak = min(in_g, key=lambda point: point[1]) if in_g else None
        if peak and in_g[0][0] < peak[0] - 6 and in_g[-1][0] > peak[0] + 12:
            whole.append((in_g, in_r, peak))
            assert all(e["isdiffpos"] == "t" for e in points.values())
    assert whole
    for in_g, in_r, peak in whole:
        assert in_g[0][1] > peak[1] + 0.5
        assert in_g[-1][1] > peak[1] + 0.3
        late = [mag for jd, mag in in_r if jd > peak[0] + 12]
        assert not late or min(late) < in_g[-1][1]


def test_variable_star_has_both_signs_at_one_place(ztf: list[Decoded]) -> None:
    signs = set()
    for alerts in by_object(ztf, "variable").values():
        places = {(a.content["candidate"]["ra"], a.content["candidate"]["dec"]) for a in alerts}
        ras = [ra for ra, _ in places]
        assert max(ras) - min(ras) < 2 / 3600
        signs |= {a.content["candidate"]["isdiffpos"] for a in alerts}
        assert all(a.content["cdsxmatch"] in ("RRLyr", "Unknown", "Fail 503") for a in alerts)
    assert signs == {"t", "f"}


def test_asteroid_moves_and_has_no_history(ztf: list[Decoded]) -> None:
    tracks = defaultdict(list)
    for decoded in ztf:
        candidate = decoded.content["candidate"]
        if decoded.alert.kind == "asteroid":
            tracks[candidate["ssnamenr"]].append((candidate["jd"], candidate["ra"], candidate["dec"]))
            assert decoded.content["prv_candidates"] is None
            assert decoded.content["roid"] == 3
            assert candidate["ndethist"] == 1
            assert candidate["ssdistnr"] >= 0
        else:
            assert (candidate["ssnamenr"], candidate["ssdistnr"]) == ("null", -999.0)
    moved = 0
    for track in tracks.values():
        (t0, ra0, dec0), (t1, ra1, dec1) = track[0], track[-1]
        if t1 - t0 > 0.9:
            distance = math.hypot((ra1 - ra0) * math.cos(math.radians(dec0)), dec1 - dec0)
            assert 0.1 < distance / (t1 - t0) < 0.35
            moved += 1
    assert moved


def test_scores_tell_bogus_and_supernova(ztf: list[Decoded]) -> None:
    def mean(kind: str, *path: str) -> float:
        values = []
        for decoded in ztf:
            if decoded.alert.kind == kind:
                value: Any = decoded.content
                for key in path:
                    value = value[key]
                values.append(value)
        return sum(values) / len(values)

    assert mean("bogus", "candidate", "rb") < 0.4 < 0.8 < mean("supernova", "candidate", "rb")
    assert mean("bogus", "candidate", "drb") < 0.3 < 0.9 < mean("variable", "candidate", "drb")
    assert mean("variable", "snn_sn_vs_all") < 0.4 < 0.6 < mean("supernova", "snn_sn_vs_all")


def test_features_are_those_of_the_points(ztf: list[Decoded]) -> None:
    for decoded in ztf[::40]:
        points = [e for e in [*history(decoded), decoded.content["candidate"]] if e["magpsf"] is not None]
        for fid, name in ((1, "lc_features_g"), (2, "lc_features_r")):
            mags = [e["magpsf"] for e in points if e["fid"] == fid]
            found = decoded.content[name]["mean"]
            assert found == pytest.approx(sum(mags) / len(mags), abs=1e-5) if mags else math.isnan(found)


def test_times_of_the_broker(ztf: list[Decoded]) -> None:
    for decoded in ztf[::20]:
        content = decoded.content
        times = [
            content[f"broker{name}"]
            for name in ("IngestTimestamp", "StartProcessTimestamp", "EndProcessTimestamp")
        ]
        assert [content["timestamp"], *times] == sorted([content["timestamp"], *times])
        assert f"{content['year']:04d}{content['month']:02d}{content['day']:02d}" == str(decoded.alert.night)
