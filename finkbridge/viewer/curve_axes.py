"""A light curve drawn by matplotlib: magnitudes upside down for ZTF, signed fluxes for all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from finkbridge.viewer.history import Point
from finkbridge.viewer.stretch import flux_range
from finkbridge.viewer.style import GREY, Band, band_of, in_order
from finkbridge.viewer.view import View, utc_text


def draw_lightcurve(axes: Axes, view: View) -> None:
    """Draw the points of a view, with a legend outside of them."""
    by_mag = view.survey == "ztf"
    axes.grid(color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("MJD (UTC days)", fontsize=9)
    axes.set_ylabel("Difference magnitude (AB)" if by_mag else "Difference flux (nJy)", fontsize=9)
    axes.tick_params(labelsize=8)
    drawn = _draw_bands(axes, view, _draw_magnitudes if by_mag else _draw_fluxes)
    if not drawn:
        axes.text(
            0.5,
            0.5,
            "no measurement",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=GREY,
            fontsize=9,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if by_mag:
        axes.invert_yaxis()
    else:
        axes.axhline(0, color=GREY, lw=0.8, zorder=1)
        drawn += _mark_outside(axes, view.points)
    _mark_current(axes, view.current, by_mag=by_mag)
    _draw_dates(axes, single=len({p.mjd for p in view.points}) == 1)
    axes.legend(
        handles=[*drawn, *_keys(view, by_mag=by_mag)], loc="upper left", bbox_to_anchor=(1.005, 1.0),
        fontsize=8, frameon=False, borderaxespad=0.0, handletextpad=0.3,
    )  # fmt: skip


def _draw_bands(axes: Axes, view: View, draw: Any) -> list[Line2D]:
    keys = []
    for name in in_order({p.band for p in view.points}):
        mine = [p for p in view.points if p.band == name]
        band = band_of(name)
        if draw(axes, mine, band):
            keys.append(_key(name[:8], band.marker, band.colour, filled=True))
    return keys


def _draw_magnitudes(axes: Axes, points: Sequence[Point], band: Band) -> int:
    seen = [p for p in points if p.mag is not None and p.kind != "upper_limit"]
    limits = [(p.mjd, p.mag_lim) for p in points if p.kind == "upper_limit" and p.mag_lim is not None]
    for positive in (True, False):
        mine = [p for p in seen if (p.is_positive is not False) == positive]
        _errorbar(axes, [(p.mjd, p.mag, p.mag_err) for p in mine], band, filled=positive)
    axes.plot(
        [time for time, _ in limits],
        [limit for _, limit in limits],
        "v",
        ms=5,
        mfc="none",
        mec=band.colour,
        alpha=0.45,
        ls="",
    )
    return len(seen) + len(limits)


def _draw_fluxes(axes: Axes, points: Sequence[Point], band: Band) -> int:
    known = [p for p in points if p.flux is not None]
    forced = [p for p in known if p.kind == "forced"]
    _errorbar(axes, [(p.mjd, p.flux, p.flux_err) for p in forced], band, size=2.5, alpha=0.35)
    _errorbar(axes, [(p.mjd, p.flux, p.flux_err) for p in known if p.kind != "forced"], band)
    return len(known)


def _errorbar(
    axes: Axes, rows: Sequence[tuple[Any, Any, Any]], band: Band, *, filled: bool = True, size: float = 5.0,
    alpha: float = 0.95,
) -> None:  # fmt: skip
    if not rows:
        return
    times, values, errors = (list(column) for column in zip(*rows, strict=True))
    axes.errorbar(
        times, values, [e if e is not None and e >= 0 else 0.0 for e in errors], fmt=band.marker, ms=size,
        color=band.colour, mfc=band.colour if filled else "white", mew=1.0, elinewidth=0.9, alpha=alpha,
        ls="", zorder=3 if size > 4 else 2,
    )  # fmt: skip


def _mark_outside(axes: Axes, points: Sequence[Point]) -> list[Line2D]:
    """Keep the scale for what is measured well: wild forced fluxes are marked at the edge of it."""
    low, high = flux_range(points)
    axes.set_ylim(low, high)
    wild = [(p.mjd, p.flux < low, p.band) for p in points if p.flux is not None and not low <= p.flux <= high]
    for mjd, below, band in wild:
        y, marker = (0.015, 7) if below else (0.985, 6)
        axes.plot(
            [mjd], [y], marker=marker, ms=6, color=band_of(band).colour, alpha=0.6, ls="",
            transform=axes.get_xaxis_transform(), zorder=4,
        )  # fmt: skip
    return [_key(f"{len(wild)} outside", "^", GREY, filled=True)] if wild else []


def _mark_current(axes: Axes, point: Point | None, *, by_mag: bool) -> None:
    value = None if point is None else point.mag if by_mag else point.flux
    if point is not None and value is not None:
        axes.plot([point.mjd], [value], "o", ms=13, mfc="none", mec="#111111", mew=1.1, zorder=5)


def _keys(view: View, *, by_mag: bool) -> list[Line2D]:
    """Return the legend of what is the same in all bands."""
    kinds, dark = {p.kind for p in view.points}, "#555555"
    keys = []
    if view.current is not None:
        keys.append(_key("this alert", "o", "#111111", size=9))
    if by_mag and any(p.is_positive is False for p in view.points):
        keys += [_key("brighter", "o", dark, filled=True), _key("fainter", "o", dark)]
    if by_mag and "upper_limit" in kinds:
        keys.append(_key("5-sigma limit", "v", dark))
    if not by_mag and "forced" in kinds:
        keys.append(_key("forced", "o", dark, filled=True, size=2.5))
    return keys


def _key(label: str, marker: str, colour: str, *, filled: bool = False, size: float = 5.5) -> Line2D:
    return Line2D(
        [], [], ls="", marker=marker, ms=size, color=colour, mfc=colour if filled else "white", label=label
    )


def _draw_dates(axes: Axes, *, single: bool) -> None:
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    begin, end = axes.get_xlim()
    if single:  # matplotlib would show some years around it
        begin, end = (begin + end) / 2 - 0.5, (begin + end) / 2 + 0.5
        axes.set_xlim(begin, end)
    wanted = slice(0, 10) if end - begin > 4 else slice(5, 16)
    top = axes.secondary_xaxis("top")
    top.xaxis.set_major_locator(MaxNLocator(5))
    top.xaxis.set_major_formatter(FuncFormatter(lambda mjd, _: utc_text(mjd)[wanted]))
    top.tick_params(labelsize=8, colors=GREY)
