from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

from finkbridge.simulator.nights import night_of
from finkbridge.simulator.schemas.lsst import SCHEMA
from tests.simulator.conftest import Decoded


def fixed(stream: list[Decoded]) -> list[Decoded]:
    return [decoded for decoded in stream if decoded.alert.kind != "asteroid"]


def parts(decoded: Decoded) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    content = decoded.content
    return content["diaSource"], content["prvDiaSources"] or [], content["prvDiaForcedSources"] or []


def test_all_fields_are_there(lsst: list[Decoded]) -> None:
    assert {field["name"] for field in SCHEMA["fields"]} == set(lsst[0].content)


def test_ids_agree_with_the_night(lsst: list[Decoded]) -> None:
    for decoded in lsst:
        source, previous, forced = parts(decoded)
        assert decoded.content["diaSourceId"] == source["diaSourceId"] == decoded.alert.source_id
        for entry in [source, *previous, *forced]:
            night = night_of(math.floor(entry["midpointMjdTai"] - 0.5))
            assert entry["visit"] // 100_000 == night
        assert decoded.alert.night == source["visit"] // 100_000
        assert decoded.alert.mjd == pytest.approx(source["midpointMjdTai"] - 37 / 86400, abs=1e-9)
        ids = [entry["diaSourceId"] for entry in [source, *previous]]
        assert len(set(ids)) == len(ids)
    assert len({decoded.alert.source_id for decoded in lsst}) == len(lsst)


def test_history_lacks_the_own_source_and_has_the_own_visit(lsst: list[Decoded]) -> None:
    for decoded in fixed(lsst):
        source, previous, forced = parts(decoded)
        assert source["diaSourceId"] not in {entry["diaSourceId"] for entry in previous}
        assert forced[-1]["visit"] == source["visit"]
        assert forced[-1]["psfFlux"] == source["psfFlux"]
        assert {entry["visit"] for entry in previous} <= {entry["visit"] for entry in forced}
        assert {e["diaObjectId"] for e in [source, *previous, *forced]} == {int(decoded.alert.object_id)}
        for entries in (previous, forced):
            times = [entry["midpointMjdTai"] for entry in entries]
            assert times == sorted(times)


def test_histories_overlap(lsst: list[Decoded]) -> None:
    grouped, compared = defaultdict(list), 0
    for decoded in fixed(lsst):
        grouped[decoded.alert.object_id].append(decoded)
    for alerts in grouped.values():
        for before, after in pairwise(alerts):
            past = {entry["diaSourceId"]: entry for entry in parts(after)[1]}
            assert past[before.alert.source_id] == before.content["diaSource"]
            window = parts(after)[0]["midpointMjdTai"] - 20
            for entry in parts(before)[1]:
                assert entry["midpointMjdTai"] <= window + 1e-3 or past[entry["diaSourceId"]] == entry
            compared += 1
    assert compared > 5


def test_object_agrees_with_its_sources(lsst: list[Decoded]) -> None:
    for decoded in fixed(lsst):
        source, previous, _ = parts(decoded)
        whole, band = decoded.content["diaObject"], source["band"]
        assert whole["diaObjectId"] == source["diaObjectId"]
        assert whole["nDiaSources"] >= len(previous) + 1
        fluxes = [entry["psfFlux"] for entry in [*previous, source] if entry["band"] == band]
        assert whole[f"{band}_psfFluxNdata"] == len(fluxes)
        assert whole[f"{band}_psfFluxMax"] == max(fluxes)
        assert min(fluxes) <= whole[f"{band}_psfFluxMean"] <= max(fluxes)
        assert decoded.content["pred"]["is_first"] == (whole["nDiaSources"] == 1)
        first = min([*(entry["midpointMjdTai"] for entry in previous), source["midpointMjdTai"]])
        assert decoded.content["misc"]["firstDiaSourceMjdTaiFink"] == first


def test_fluxes_agree(lsst: list[Decoded]) -> None:
    for decoded in lsst:
        source = decoded.content["diaSource"]
        assert source["isNegative"] == (source["psfFlux"] < 0)
        assert source["snr"] == pytest.approx(abs(source["psfFlux"]) / source["psfFluxErr"], rel=1e-5)
        assert source["snr"] >= 5
        assert 0 <= source["reliability"] <= 1


def test_both_signs(lsst: list[Decoded]) -> None:
    signs = {d.content["diaSource"]["isNegative"] for d in lsst if d.alert.kind == "variable"}
    signs |= {entry["isNegative"] for d in lsst if d.alert.kind == "variable" for entry in parts(d)[1]}
    assert signs == {True, False}


def test_asteroid_has_an_orbit_and_nothing_else(lsst: list[Decoded]) -> None:
    asteroids = [decoded for decoded in lsst if decoded.alert.kind == "asteroid"]
    assert asteroids
    for decoded in asteroids:
        content = decoded.content
        name = content["mpc_orbits"]["designation"]
        assert decoded.alert.object_id == name == content["ssSource"]["designation"]
        assert content["diaSource"]["diaObjectId"] == 0
        packed = content["mpc_orbits"]["packed_primary_provisional_designation"]
        assert content["diaSource"]["ssObjectId"] == int.from_bytes(packed.encode(), "big")
        assert content["prvDiaSources"] is None
        assert content["prvDiaForcedSources"] is None
        assert set(content["diaObject"].values()) == {None}
        assert content["mpc_orbits"]["q"] == pytest.approx(
            content["mpc_orbits"]["a"] * (1 - content["mpc_orbits"]["e"])
        )
        assert content["pred"]["is_sso"]
    for decoded in fixed(lsst):
        assert (
            set(decoded.content["mpc_orbits"].values()) == set(decoded.content["ssSource"].values()) == {None}
        )


def test_features_by_band(lsst: list[Decoded]) -> None:
    for decoded in fixed(lsst)[::4]:
        source, previous, _ = parts(decoded)
        bands = {entry["band"] for entry in [source, *previous]}
        assert set(decoded.content["lc_features"]) == bands
        for band in bands:
            fluxes = [entry["psfFlux"] for entry in [*previous, source] if entry["band"] == band]
            mean = sum(fluxes) / len(fluxes)
            assert decoded.content["lc_features"][band]["mean"] == pytest.approx(mean, rel=1e-4, abs=1.0)
