from __future__ import annotations

import pytest

from finkbridge.errors import SettingsError
from finkbridge.republish.request import Pace, Request, Selection, parse_offsets
from finkbridge.values import OffsetRange


def test_offset_ranges() -> None:
    assert parse_offsets("3:10-20") == OffsetRange(3, 10, 20)
    for text in ("", "3", "3:10", "3:20-10", "3:5-5", "-1:1-2", "a:1-2", "3:1-2-3"):
        with pytest.raises(SettingsError, match="no offset range"):
            parse_offsets(text)


def test_the_same_work_has_the_same_name_and_other_work_another() -> None:
    def job(selection: Selection, target: str = "t", pace: Pace = Pace()) -> str:  # noqa: B008
        return Request(selection, "mine", target, pace).job("g", "ztf", 1)

    one = job(Selection("a", nights=(1, 2)))
    assert one.startswith("g-finkbridge-republish-")
    assert one == job(Selection("a", nights=(2, 1)), pace=Pace(rate=3))
    others = {
        job(Selection("a")),
        job(Selection("b", nights=(1, 2))),
        job(Selection("a", nights=(1, 2)), "u"),
    }
    assert len(others | {one}) == 4
