"""Versions against ranges."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from finkbridge.doctor.packages import fits, packages


@pytest.mark.parametrize(
    "ranges",
    ["", ">=2.16,<3", "<3,>=2.16", "==2.*", "!=2.*", "==2.16", "~=2.16", "~=2.16.0", ">2.16", "<=2.16"],
)
@pytest.mark.parametrize("version", ["1.9", "2.0", "2.16", "2.16.0", "2.16.1", "2.17", "3", "3.0.0", "10.1"])
def test_ranges_agree_with_packaging(version: str, ranges: str) -> None:
    assert fits(version, ranges) == (version in SpecifierSet(ranges))


def test_what_is_installed_here_fits() -> None:
    (finding,) = packages()
    assert finding.state == "good"
    assert metadata.version("pyarrow") in finding.said


def test_wrong_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["duckdb>=1000,<2000", "no-such-package>=1", "absent-extra>=1; extra == 'plot'", "numpy>=1"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    found = {f.subject: f for f in packages()}
    assert {name: f.state for name, f in found.items()} == {"duckdb": "doubtful", "no-such-package": "bad"}
    assert found["duckdb"].todo == "pip install 'duckdb>=1000,<2000'"
    for text in metadata.requires("finkbridge") or ():
        Requirement(text)


def test_what_duckdb_needs_to_give_times_comes_with_finkbridge() -> None:
    always = [Requirement(text) for text in metadata.requires("finkbridge") or ()]
    assert "pytz" in {r.name for r in always if r.marker is None}, "`finkbridge sql` fails on `received`"
