"""File names: told from the alert, safe whatever it says, and no two alerts share one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.consumer.names import LONGEST, SUFFIX, file_name, object_of, safe

PLACE = "fink_t-0-7"


@pytest.mark.parametrize(
    ("alert", "name"),
    [
        ({"objectId": "ZTF26aamcbly", "candid": 3367463101415010117}, "ZTF26aamcbly_3367463101415010117"),
        ({"diaSourceId": 5, "diaSource": {"diaObjectId": 9}}, "9_5"),
        (
            {"diaSourceId": 5, "diaSource": {"diaObjectId": 0}, "mpc_orbits": {"designation": "2004 JQ12"}},
            "2004_JQ12_5",
        ),
        (
            {"diaSourceId": 5, "diaSource": {"diaObjectId": None}, "ssSource": {"designation": "C/2020 F3"}},
            "C%2F2020_F3_5",
        ),
        ({"diaSourceId": 5, "diaSource": {"diaObjectId": 0, "ssObjectId": 77}}, "ss%3A77_5"),
        ({"diaSourceId": 5, "diaSource": None, "mpc_orbits": None}, "none_5"),
        ({"alertId": 3, "diaSource": {"diaSourceId": 4, "diaObjectId": 8}}, "8_4"),
        ({"objectId": "ZTF1", "triggerId": "bn26", "candid": 4}, "ZTF1_bn26_4"),
        ({"objectId": "ZTF1", "triggerId": "bn26"}, "ZTF1_bn26"),
        ({"objectId": "ZTF1", "triggerId": "bn26", "candid": 0}, f"ZTF1_bn26_{PLACE}"),
        ({"objectId": "ZTF1"}, PLACE),  # a counting topic: many alerts of one object
        ({}, PLACE),
        ({"objectId": "../x", "candid": 1}, "%2E./x_1".replace("/", "%2F")),
        ({"objectId": "a\0b'\"\n", "candid": 1}, "a%00b%27%22%0A_1"),
        ({"objectId": "-rf", "candid": 1}, "%2Drf_1"),
        ({"objectId": "é", "candid": 1}, "%C3%A9_1"),
    ],
)
def test_names(alert: dict[str, object], name: str) -> None:
    assert file_name(alert, PLACE) == name + SUFFIX


def test_a_place_with_odd_characters_is_safe_too() -> None:
    assert file_name({}, "a/b-0-1") == "a%2Fb-0-1.avro"


@given(st.text(max_size=400), st.integers())
def test_a_name_stays_in_its_folder_and_within_the_file_system(object_id: str, candid: int) -> None:
    name = file_name({"objectId": object_id, "candid": candid}, PLACE)
    assert Path("folder", name).resolve().parent == Path("folder").resolve()
    assert len(name.encode()) <= LONGEST + 40
    assert name.isascii()
    assert not name.startswith((".", "-"))
    assert "\0" not in name


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_two_texts_share_a_name(one: str, other: str) -> None:
    assert (safe(one) == safe(other)) == (one == other)


def test_long_ids_that_differ_at_their_end_differ() -> None:
    names = {file_name({"objectId": "x" * 400 + end, "candid": 1}, PLACE) for end in "ab"}
    assert len(names) == 2


def test_object_of_anything() -> None:
    assert object_of({"diaSource": "no record"}) is None
