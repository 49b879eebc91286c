"""The picture of an alert by matplotlib: three cutouts above a light curve.

Only matplotlib's objects are used, never its global state: many threads may draw at once, and no window opens.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from finkbridge.errors import SettingsError
from finkbridge.viewer.cutouts import Cutout
from finkbridge.viewer.history import Point
from finkbridge.viewer.stretch import flux_range, shades
from finkbridge.viewer.style import Band, band_of, in_order
from finkbridge.viewer.view import View, utc_text, view_of

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ModuleNotFoundError:
    raise SettingsError("matplotlib is not installed: pip install 'finkbridge[plot]'") from None

SIZE_INCHES = (9.0, 7.0)
DOTS_PER_INCH = 110
NO_VALUE = "#b9cfe4"
"""Colour of pixels without a value: no grey, which could be one."""
GREY = "#777777"


def picture(alert: Mapping[str, Any], *, survey: str | None = None, topics: Iterable[str] = ()) -> bytes:
    """Return an alert's cutouts and light curve as a PNG picture.

    Parameters
    ----------
    alert
        A decoded alert of ZTF or LSST, as `finkbridge.AlertReader` gives it; of anything else, what there is.
    survey
        ``ztf``, ``lsst`` or ``other``; told by the alert's fields if None.
    topics
        By which it came, to be written into the picture.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    """
    return rendered(view_of(alert, survey=survey, topics=topics), "png")


def rendered(view: View, format_: str) -> bytes:
    """Return a picture as the bytes of a file: ``png``, ``svg`` or ``pdf``."""
    stream = io.BytesIO()
    figure_of(view).savefig(stream, format=format_, dpi=DOTS_PER_INCH)
    return stream.getvalue()


def pages(views: Iterable[View]) -> bytes:
    """Return pictures as one PDF, a page each."""
    stream = io.BytesIO()
    with PdfPages(stream) as pdf:
        for view in views:
            figure = figure_of(view)
            pdf.savefig(figure, dpi=DOTS_PER_INCH)
    return stream.getvalue()


def figure_of(view: View, figure: Figure | None = None) -> Figure:
    """Draw into a figure, or into a new one, and return it."""
    if figure is None:
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(1, 1.35))
    figure.suptitle(view.title, fontsize=13, weight="bold", parse_math=False)
    for column, cutout in enumerate(view.cutouts[:3]):
        _draw_cutout(figure.add_subplot(grid[0, column]), cutout, view)
    _draw_lightcurve(figure.add_subplot(grid[1, :]), view)
    lines = "\n".join(_wrapped(view.lines)).replace("+-", "\u00b1")
    figure.supxlabel(lines, fontsize=8, color="#444444", parse_math=False)
    return figure


def _wrapped(lines: Sequence[str], width: int = 125) -> list[str]:
    out: list[str] = []
    for line in lines:
        row = ""
        for part in line.split("   "):
            if row and len(row) + len(part) > width:
                out.append(row)
                row = ""
            row = f"{row}   {part}" if row else part
        out.append(row)
    return [row for row in out if row]


def _draw_cutout(axes: Axes, cutout: Cutout, view: View) -> None:
    axes.set_title(_caption(cutout, view), fontsize=9, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#f2f2f2")
    if cutout.pixels is None:
        axes.set_box_aspect(1)
        axes.text(
            0.5, 0.5, _broken(cutout.problem), transform=axes.transAxes, ha="center", va="center",
            fontsize=8, color=GREY, parse_math=False,
        )  # fmt: skip
        return
    axes.set_facecolor(NO_VALUE)  # a masked pixel is transparent
    axes.imshow(
        np.ma.masked_invalid(shades(cutout)), cmap="gray", vmin=0, vmax=1, origin="lower", interpolation="nearest"
    )
    _draw_compass(axes, cutout)
    _draw_scale(axes, cutout)


def _caption(cutout: Cutout, view: View) -> str:
    current = view.current
    if cutout.name == "Difference" and view.survey == "ztf" and current and current.is_positive is False:
        return "Difference (template - science)"  # ZTF turns the image of a negative source around
    return cutout.name


def _broken(problem: str) -> str:
    """Return a reason in short lines."""
    words, lines = problem.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 28:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:6])


def _draw_compass(axes: Axes, cutout: Cutout) -> None:
    """Draw where north and east are, in the lower right corner."""
    if cutout.north is None or cutout.east is None:
        return
    foot, length = (0.86, 0.12), 0.12
    arms = [cutout.north, cutout.east]
    # the foot moves so that both arms stay inside, however they turn
    x = min(0.93, foot[0] - length * max(0.0, *(v[0] for v in arms)) + 0.04)
    y = foot[1] - length * min(0.0, *(v[1] for v in arms))
    for name, (right, up) in zip("NE", arms, strict=True):
        tip = (x + length * right, y + length * up)
        axes.annotate(
            "", tip, (x, y), xycoords="axes fraction", textcoords="axes fraction",
            arrowprops={"arrowstyle": "-|>", "color": "#ffd34d", "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        axes.text(
            x + 1.45 * length * right, y + 1.45 * length * up, name, transform=axes.transAxes, ha="center",
            va="center", fontsize=8, color="#ffd34d", weight="bold",
        )  # fmt: skip


def _draw_scale(axes: Axes, cutout: Cutout) -> None:
    """Draw a bar of a round number of arc seconds, in the lower left corner."""
    if cutout.arcsec is None or cutout.pixels is None:
        return
    width = cutout.pixels.shape[1]
    side = width * cutout.arcsec
    fitting = [s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300) if s <= side / 3]
    bar = max(fitting, default=side / 4)
    axes.plot(
        [0.05, 0.05 + bar / side], [0.06, 0.06], transform=axes.transAxes, color="#ffd34d", lw=2, solid_capstyle="butt"
    )
    axes.text(0.05, 0.085, f'{bar:g}"', transform=axes.transAxes, fontsize=8, color="#ffd34d", weight="bold")


def _draw_lightcurve(axes: Axes, view: View) -> None:
    by_mag = view.survey == "ztf"
    axes.grid(color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("MJD (UTC days)", fontsize=9)
    axes.set_ylabel("Difference magnitude (AB)" if by_mag else "Difference flux (nJy)", fontsize=9)
    axes.tick_params(labelsize=8)
    drawn = _draw_bands(axes, view, _draw_magnitudes if by_mag else _draw_fluxes)
    if not drawn:
        axes.text(
            0.5, 0.5, "no measurement", transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9
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
    _draw_dates(axes)
    axes.legend(
        handles=[*drawn, *_keys(view, by_mag=by_mag)], loc="upper left", bbox_to_anchor=(1.005, 1.0), fontsize=8,
        frameon=False, borderaxespad=0.0, handletextpad=0.3,
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
    limits = [p for p in points if p.kind == "upper_limit" and p.mag_lim is not None]
    for positive in (True, False):
        mine = [p for p in seen if (p.is_positive is not False) == positive]
        _errorbar(axes, [(p.mjd, p.mag, p.mag_err) for p in mine], band, filled=positive)
    axes.plot(
        [p.mjd for p in limits], [p.mag_lim for p in limits], "v", ms=5, mfc="none", mec=band.colour, alpha=0.45, ls=""
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
        color=band.colour, mfc=band.colour if filled else "white", mew=1.0, elinewidth=0.9, alpha=alpha, ls="",
        zorder=3 if size > 4 else 2,
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
    return Line2D([], [], ls="", marker=marker, ms=size, color=colour, mfc=colour if filled else "white", label=label)


def _draw_dates(axes: Axes) -> None:
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    begin, end = axes.get_xlim()
    wanted = slice(0, 10) if end - begin > 4 else slice(5, 16)
    top = axes.secondary_xaxis("top")
    top.xaxis.set_major_locator(MaxNLocator(5))
    top.xaxis.set_major_formatter(FuncFormatter(lambda mjd, _: utc_text(mjd)[wanted]))
    top.tick_params(labelsize=8, colors=GREY)
