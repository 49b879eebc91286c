from __future__ import annotations

from datetime import date, datetime

import pytest

from finkbridge.simulator.designations import Designation, designation, permanent_number
from finkbridge.simulator.nights import day_of, night_of, time_text, unix_ms
from finkbridge.simulator.ztf import object_name


def test_designation_as_the_mpc_packs_it() -> None:
    name = Designation(2004, "J", "Q", 12)
    assert (name.text, name.packed, name.ss_object_id) == ("2004 JQ12", "K04J12Q", 21163624394469969)
    assert Designation(2010, "A", "B", 0).packed == "K10A00B"
    assert Designation(1999, "X", "Z", 619).packed == "J99Xz9Z"


def test_names_are_distinct() -> None:
    assert len({designation(f, s).text for f in range(1, 5) for s in range(500)}) == 2000
    assert len({permanent_number(f, s) for f in (317, 544, 801) for s in range(500)}) == 1500
    names = {object_name(2026, number) for number in range(20_000)}
    assert len(names) == 20_000
    assert all(name.startswith("ZTF26aa") and len(name) == 12 for name in names)


@pytest.mark.parametrize("start", [20260301, 20260301.0, date(2026, 3, 1), datetime(2026, 3, 1, 18)])
def test_day_of(start: date | float) -> None:
    assert day_of(start) == 61100
    assert night_of(61100) == 20260301


def test_times() -> None:
    assert unix_ms(40587.5) == 43_200_000
    assert time_text(61100.25) == "2026-03-01 06:00:00.000000"
