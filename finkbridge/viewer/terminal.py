"""An alert drawn with characters: cutouts as shades, the light curve as letters of the bands.

Nothing but ASCII, unless the terminal has 256 colours: then each character cell is two grey pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finkbridge.viewer.cutouts import Cutout
from finkbridge.viewer.history import Point
from finkbridge.viewer.stretch import flux_range, shades
from finkbridge.viewer.style import band_of, in_order
from finkbridge.viewer.view import View, utc_text

RAMP = " .:-=+*#%@"
"""From dark to bright."""
LEAST_COLUMNS, MOST_COLUMNS = 60, 120
CURVE_ROWS = 16
MARGIN = 11
"""Columns left of a light curve, with its scale."""
RESET = "\x1b[0m"
_NO_VALUE = " "

Grey = npt.NDArray[np.float64]


class Mark(NamedTuple):
    """A point as it is drawn."""

    x: float
    y: float
    text: str
    band: str
    rank: int
    """The higher one is seen where two fall together."""


def drawn(view: View, columns: int = 80, *, colours: bool = False) -> Iterator[str]:
    """Yield the lines of a drawing, `columns` wide; with `colours`, for a terminal of 256."""
    columns = max(LEAST_COLUMNS, min(columns, MOST_COLUMNS))
    yield view.title
    yield from (line for text in view.lines for line in _folded(text, columns))
    yield ""
    if view.cutouts:
        yield from _cutout_lines(view.cutouts, columns, colours=colours)
        yield ""
    yield from _curve_lines(view, columns, colours=colours)


def _folded(text: str, columns: int) -> Iterator[str]:
    row = ""
    for part in text.split("   "):
        if row and len(row) + len(part) + 3 > columns:
            yield row
            row = ""
        row = f"{row}   {part}" if row else part
    yield row


def _cutout_lines(cutouts: Sequence[Cutout], columns: int, *, colours: bool) -> Iterator[str]:
    width = min((columns - 4) // 3, 34)
    rows = width // 2
    blocks = [_block(cutout, width, rows, colours=colours) for cutout in cutouts[:3]]
    for line in zip(*blocks, strict=True):
        yield "  ".join(line).rstrip()


def _block(cutout: Cutout, width: int, rows: int, *, colours: bool) -> list[str]:
    title = _title(cutout)[:width].center(width)
    if cutout.pixels is None:
        said = _words(cutout.problem, width - 2, rows)
        blank = [" " * width] * ((rows - len(said)) // 2)
        lines = [*blank, *(line.center(width) for line in said)]
        return [title, *lines, *[" " * width] * (rows - len(lines))]
    grey = shades(cutout)
    if colours:
        return [title, *_half_blocks(_resized(grey, 2 * rows, width))]
    return [title, *_letters(_resized(grey, rows, width))]


def _title(cutout: Cutout) -> str:
    if cutout.pixels is None or cutout.arcsec is None:
        return cutout.name
    side = f'{cutout.name} {cutout.pixels.shape[1] * cutout.arcsec:.0f}"'
    if cutout.north is None:
        return side
    return f"{side} N {_direction(cutout.north)}"


def _direction(vector: tuple[float, float]) -> str:
    right, up = vector
    names = ["right", "up right", "up", "up left", "left", "down left", "down", "down right"]
    return names[round(math.degrees(math.atan2(up, right)) / 45) % 8]


def _resized(grey: Grey, rows: int, columns: int) -> Grey:
    """Return an image of another size, the first row on top: means of what falls together, else NaN."""
    height, width = grey.shape
    side = max(height, width)
    out = np.full((rows, columns), np.nan)
    for row in range(rows):
        lines = grey[_part(row, rows, height, side)]
        for column in range(columns):
            part = lines[:, _part(column, columns, width, side)]
            if np.isfinite(part).any():
                out[row, column] = np.nanmean(part)
    return out[::-1]


def _part(index: int, of: int, length: int, side: int) -> slice:
    """Return which of `length` pixels, centred in `side`, are at `index`."""
    before = (side - length) // 2
    first, last = index * side // of - before, max((index + 1) * side // of, index * side // of + 1) - before
    return slice(max(first, 0), max(last, 0))


def _letters(grey: Grey) -> list[str]:
    steps = len(RAMP) - 1
    return ["".join(_NO_VALUE if np.isnan(v) else RAMP[round(v * steps)] for v in row) for row in grey]


def _half_blocks(grey: Grey) -> list[str]:
    return [
        "".join(f"\x1b[38;5;{_level(a)};48;5;{_level(b)}m\u2580" for a, b in zip(top, below, strict=True))
        + RESET
        for top, below in zip(grey[::2], grey[1::2], strict=True)
    ]


def _level(value: float) -> int:
    """Return a shade among the 24 greys of a terminal; a pale blue where there is no value."""
    return 110 if np.isnan(value) else 232 + round(value * 23)


def _curve_lines(view: View, columns: int, *, colours: bool) -> Iterator[str]:
    marks = _marks(view)
    if not marks:
        yield "no measurement"
        return
    upside_down = view.survey == "ztf"
    width = columns - MARGIN
    left, right = _padded([m.x for m in marks], 0.02)
    low, high = (_padded([m.y for m in marks], 0.05)) if upside_down else flux_range(view.points)
    grid: dict[tuple[int, int], Mark] = {}
    for mark in marks:
        row = _place(mark.y, low, high, CURVE_ROWS)
        place = (row if upside_down else CURVE_ROWS - 1 - row, _place(mark.x, left, right, width))
        if place not in grid or grid[place].rank < mark.rank:
            grid[place] = mark
    yield "difference magnitude (AB)" if upside_down else "difference flux (nJy)"
    zero = None if upside_down else CURVE_ROWS - 1 - _place(0.0, low, high, CURVE_ROWS)
    for row in range(CURVE_ROWS):
        part = row / (CURVE_ROWS - 1)
        value = low + (high - low) * (part if upside_down else 1 - part)
        label = _label(value, upside_down=upside_down) if row % 5 == 0 else ""
        background = "-" if row == zero else " "
        cells = "".join(
            _cell(grid.get((row, column)), background, colours=colours) for column in range(width)
        )
        yield f"{label:>{MARGIN - 2}} |{cells.rstrip()}"
    yield " " * (MARGIN - 1) + "+" + "-" * width
    yield from _times(left, right, width)
    yield from _key(view, marks, columns, colours=colours)


def _marks(view: View) -> list[Mark]:
    found = []
    current = view.current
    for point in view.points:
        text, rank = _letter(point, by_mag=view.survey == "ztf")
        y = _value(point, by_mag=view.survey == "ztf")
        if y is not None:
            found.append(
                Mark(
                    point.mjd,
                    y,
                    "@" if point is current else text,
                    point.band,
                    9 if point is current else rank,
                )
            )
    return found


def _value(point: Point, *, by_mag: bool) -> float | None:
    if not by_mag:
        return point.flux
    return point.mag_lim if point.kind == "upper_limit" else point.mag


def _letter(point: Point, *, by_mag: bool) -> tuple[str, int]:
    letter = point.band[0] if " " < point.band[:1] <= "~" else "?"
    if point.kind == "upper_limit":
        return "v", 1
    if point.kind == "forced":
        return ".", 1
    return (letter.upper(), 3) if by_mag and point.is_positive is False else (letter, 3)


def _cell(mark: Mark | None, background: str, *, colours: bool) -> str:
    if mark is None:
        return background
    return f"\x1b[38;5;{band_of(mark.band).ansi}m{mark.text}{RESET}" if colours else mark.text


def _times(left: float, right: float, width: int) -> Iterator[str]:
    begin, end = f"{left:.2f}", f"{right:.2f}"
    middle = "MJD (UTC days)".center(max(width - len(begin) - len(end), 0))
    yield " " * MARGIN + begin + middle + end
    first, last = utc_text(left)[:10], utc_text(right)[:10]
    yield " " * MARGIN + first + last.rjust(width - len(first))


def _key(view: View, marks: Sequence[Mark], columns: int, *, colours: bool) -> Iterator[str]:
    bands = in_order({m.band for m in marks})
    names = [_cell(Mark(0, 0, name, name, 0), "", colours=colours) for name in bands]
    said = ["bands " + " ".join(names)]
    texts = {m.text for m in marks}
    if "@" in texts:
        said.append("@ this alert")
    if any(m.text.isupper() for m in marks):
        said.append("capital: fainter than the template")
    if "v" in texts:
        said.append("v 5-sigma limit")
    if "." in texts and view.survey != "ztf":
        said.append(". forced photometry")
    yield from _folded("   ".join(said), columns)


def _place(value: float, low: float, high: float, cells: int) -> int:
    return min(cells - 1, max(0, int((value - low) / (high - low) * cells)))


def _padded(values: Sequence[float], part: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    # of hostile numbers, so that it is more than what a float of their size rounds away
    margin = max(part * (high - low) or 0.5, 1e-9 * max(abs(low), abs(high)))
    return low - margin, high + margin


def _label(value: float, *, upside_down: bool) -> str:
    return f"{value:.2f}" if upside_down else f"{value:.3g}"


def _words(text: str, width: int, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()[:width]
    return lines[:most]
