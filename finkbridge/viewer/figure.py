"""The picture of an alert by matplotlib: three cutouts above a light curve.

Only matplotlib's objects are used, never its global state: many threads may draw, and no window opens.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finkbridge.errors import SettingsError
from finkbridge.viewer.view import View, view_of

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    from finkbridge.viewer.curve_axes import draw_lightcurve
    from finkbridge.viewer.image_axes import draw_cutout
except ModuleNotFoundError:
    raise SettingsError("matplotlib is not installed: pip install 'finkbridge[plot]'") from None

SIZE_INCHES = (9.0, 7.0)
DOTS_PER_INCH = 110


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
        draw_cutout(figure.add_subplot(grid[0, column]), cutout, view)
    draw_lightcurve(figure.add_subplot(grid[1 if view.cutouts else slice(None), :]), view)
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
