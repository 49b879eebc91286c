"""Colours and markers of the bands: each band is told by both, so that no one needs to see colours."""

from __future__ import annotations

from typing import NamedTuple


class Band(NamedTuple):
    """How a band is drawn."""

    colour: str
    marker: str
    """matplotlib's; never ``v``, which is an upper limit's."""
    ansi: int
    """Colour of a terminal, of 256."""


BANDS = {
    "u": Band("#6a3d9a", "p", 135),
    "g": Band("#1b8a3a", "o", 35),
    "r": Band("#d0312d", "s", 160),
    "i": Band("#e08a00", "D", 208),
    "z": Band("#8c510a", "^", 130),
    "y": Band("#333333", "*", 245),
}
GREY = "#777777"
"""Of what is of no band."""
OTHER = Band("#1f6fb4", "X", 33)


def band_of(name: str) -> Band:
    """Return how a band is drawn, known or not."""
    return BANDS.get(name, OTHER)


def in_order(names: set[str]) -> list[str]:
    """Return bands from blue to red, unknown ones last."""
    known = list(BANDS)
    return sorted(names, key=lambda name: (known.index(name) if name in BANDS else len(known), name))
