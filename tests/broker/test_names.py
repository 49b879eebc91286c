"""Names and patterns, and the topics that only names stand for."""

from __future__ import annotations

import pytest

from finkbridge.broker.names import select

THERE = [
    "fink_20260322",
    "fink_lsst_20260322",
    "fink_odd_schema",
    "fink_sn_ztf",
    "fink_sn_ztf_schema",
    "fink_ztf_20260322",
    "fink_ztf_2026032",
    "ftransfer_a",
    "ftransfer_a_schema",
]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["fink_*"], ["fink_20260322", "fink_odd_schema", "fink_sn_ztf", "fink_ztf_2026032"]),
        (["*_schema"], ["fink_odd_schema"]),
        (["fink_???_2026*"], ["fink_ztf_2026032"]),
        (["ftransfer_[a]*"], ["ftransfer_a"]),
        (["ftransfer_a", "ftransfer_a_schema"], ["ftransfer_a", "ftransfer_a_schema"]),
        (["fink_*_ztf", "fink_ztf_20260322"], ["fink_sn_ztf", "fink_ztf_20260322"]),
        (["FINK_*", "not_there"], []),
        ([], []),
    ],
)
def test_select(names: list[str], found: list[str]) -> None:
    assert select(names, THERE) == found
