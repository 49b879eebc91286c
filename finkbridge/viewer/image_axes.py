"""A cutout drawn by matplotlib: pixels, a compass, and a bar of arc seconds."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from finkbridge.viewer.cutouts import Cutout
from finkbridge.viewer.stretch import shades
from finkbridge.viewer.style import GREY
from finkbridge.viewer.view import View

NO_VALUE = "#b9cfe4"
"""Colour of pixels without a value: no grey, which could be one."""
MARKS = "#ffd34d"
RIM = [withStroke(linewidth=2.2, foreground="#000000")]
"""Around marks, so that they are seen on any grey."""


def draw_cutout(axes: Axes, cutout: Cutout, view: View) -> None:
    """Draw a cutout, or say why there is none."""
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
        np.ma.masked_invalid(shades(cutout)),
        cmap="gray",
        vmin=0,
        vmax=1,
        origin="lower",
        interpolation="nearest",
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
    arms, length = [cutout.north, cutout.east], 0.12
    # the middle of both arms stays in its place, however they turn
    x, y = (middle - length * (arms[0][i] + arms[1][i]) / 2 for i, middle in enumerate((0.84, 0.17)))
    for name, (right, up) in zip("NE", arms, strict=True):
        tip = (x + length * right, y + length * up)
        axes.annotate(
            "", tip, (x, y), xycoords="axes fraction", textcoords="axes fraction",
            arrowprops={"arrowstyle": "-|>", "color": MARKS, "lw": 1.2, "shrinkA": 0, "shrinkB": 0,
                        "path_effects": RIM},
        )  # fmt: skip
        axes.text(
            x + 1.45 * length * right, y + 1.45 * length * up, name, transform=axes.transAxes, ha="center",
            va="center", fontsize=8, color=MARKS, weight="bold", path_effects=RIM,
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
        [0.05, 0.05 + bar / side], [0.06, 0.06], transform=axes.transAxes, color=MARKS, lw=2,
        solid_capstyle="butt", path_effects=RIM,
    )  # fmt: skip
    axes.text(
        0.05, 0.085, f'{bar:g}"', transform=axes.transAxes, fontsize=8, color=MARKS, weight="bold",
        path_effects=RIM,
    )  # fmt: skip
