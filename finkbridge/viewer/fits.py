"""The first image of FITS bytes, within bounds.

Our own, as cutouts are senders' bytes: a general reader such as astropy's also opens compressed images,
tables and heaps, any of which can claim gigabytes in a header of some lines, and it takes long to load. What
alerts have is a header of cards and one plain array; astropy is the judge in the tests.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CARD, BLOCK = 80, 2880
MAX_CARDS = 1_000
"""Of one header; those of cutouts have 6 to 30."""
MAX_AXES = 8
MAX_SIDE = 2_048
"""Pixels; cutouts have 30 to 63."""
MAX_PIXELS = 1 << 20

_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_VALUE = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^/]*))")

Pixels = npt.NDArray[np.float64]
Cards = dict[str, str]


class FitsError(ValueError):
    """The bytes are no image that we read; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class FitsImage:
    """An image as it is in the file."""

    pixels: Pixels
    """The first row is FITS's first, which is the lowest by its convention; NaN where there is no value."""
    cards: Cards
    """Keyword -> value as text, without quotes."""

    def number(self, keyword: str) -> float | None:
        """Return a card's finite number; None if there is none."""
        return _number(self.cards.get(keyword))


def read_image(data: bytes) -> FitsImage:
    """Read the first image with pixels.

    Parameters
    ----------
    data
        FITS, not gzipped.

    Raises
    ------
    FitsError
        There is none, or it is larger than `MAX_PIXELS` or than the bytes that are there.
    """
    at = 0
    while at < len(data):
        cards, at = _header(data, at)
        axes = _axes(cards)
        if len(axes) == 2 and all(axes) and cards.get("XTENSION", "IMAGE") == "IMAGE":
            return FitsImage(_pixels(data, at, cards, axes), cards)
        at += -(-_data_bytes(cards, axes) // BLOCK) * BLOCK
    raise FitsError("it has no image of two axes")


def _header(data: bytes, at: int) -> tuple[Cards, int]:
    if data[at : at + 6] not in {b"SIMPLE", b"XTENSI"}:
        raise FitsError(f"no FITS at byte {at}")
    cards: Cards = {}
    for number in range(MAX_CARDS):
        card = data[at + number * CARD : at + (number + 1) * CARD]
        if len(card) < CARD:
            raise FitsError("its header has no end")
        text = card.decode("ascii", errors="replace")
        keyword = text[:8].strip()
        if keyword == "END":
            return cards, at + -(-(number + 1) * CARD // BLOCK) * BLOCK
        if text[8:9] == "=":
            cards.setdefault(keyword, _value(text))
    raise FitsError(f"its header has more than {MAX_CARDS} cards")


def _value(card: str) -> str:
    found = _VALUE.match(card, 9)
    quoted, plain = found.groups() if found else (None, "")
    return (plain if quoted is None else quoted).strip()


def _axes(cards: Cards) -> list[int]:
    count = _integer(cards, "NAXIS", 0)
    if not 0 <= count <= MAX_AXES:
        raise FitsError(f"it has {count} axes")
    axes = [_integer(cards, f"NAXIS{n}", 0) for n in range(1, count + 1)]
    if any(axis < 0 for axis in axes):
        raise FitsError("an axis is negative")
    return axes


def _data_bytes(cards: Cards, axes: list[int]) -> int:
    """Return the bytes of a unit's data, to step over what is no image."""
    elements = _integer(cards, "PCOUNT", 0) + (math.prod(axes) if axes else 0)
    found = abs(_integer(cards, "BITPIX", 8)) // 8 * _integer(cards, "GCOUNT", 1) * elements
    if found < 0:
        raise FitsError("its size is negative")
    return found


def _pixels(data: bytes, at: int, cards: Cards, axes: list[int]) -> Pixels:
    bits = _integer(cards, "BITPIX", 0)
    width, height = axes
    if bits not in _DTYPES:
        raise FitsError(f"BITPIX is {bits}")
    if max(axes) > MAX_SIDE or width * height > MAX_PIXELS:
        raise FitsError(f"it claims {width:,} x {height:,} pixels")
    if at + width * height * abs(bits) // 8 > len(data):
        raise FitsError(f"it is cut: {width} x {height} pixels are more than its bytes")
    raw = np.frombuffer(data, _DTYPES[bits], width * height, at).reshape(height, width)
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = raw.astype(np.float64)
        if bits > 0 and "BLANK" in cards:
            pixels[raw == _integer(cards, "BLANK", 0)] = np.nan
        pixels = pixels * (_or(cards, "BSCALE", 1.0)) + _or(cards, "BZERO", 0.0)
    pixels[~np.isfinite(pixels)] = np.nan
    return pixels


def _integer(cards: Cards, keyword: str, default: int) -> int:
    text = cards.get(keyword)
    if text is None:
        return default
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise FitsError(f"{keyword} is no number")
    return int(text)


def _or(cards: Cards, keyword: str, default: float) -> float:
    found = _number(cards.get(keyword))
    return default if found is None else found


def _number(text: Any) -> float | None:
    try:
        number = float(str(text).replace("D", "E"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
