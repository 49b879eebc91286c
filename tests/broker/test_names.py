"""Names and patterns, and the topics that only names stand for."""

from __future__ import annotations

import pytest

from finkbridge.broker.names import may_be_topic, select

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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fink_sn_ztf", True),
        ("fink_[ab]*", True),
        ("a" * 249, True),
        ("a" * 250, False),
        ("a/b", False),
        ("a/*", False),
        ("a b", False),
        (".", False),
        ("..", False),
        ("...", True),
        ("", False),
        ("\u00e9t\u00e9", False),
    ],
)
def test_what_kafka_takes_as_a_name(name: str, expected: bool) -> None:
    assert may_be_topic(name) is expected
