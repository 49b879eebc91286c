"""Alerts as one HTML page that needs nothing else: no script, no network, any browser."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from html import escape

from finkbridge.viewer.figure import rendered
from finkbridge.viewer.history import Point
from finkbridge.viewer.view import View, utc_text

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem }}
img {{ max-width: 100%; height: auto }}
section {{ border-top: 1px solid #ccc; padding-top: 1rem }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }}
th, td {{ padding: 0.15rem 0.7rem; text-align: right; border-bottom: 1px solid #eee }}
summary {{ cursor: pointer; margin: 0.6rem 0 }}
</style>
</head>
<body>
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_COLUMNS = ("MJD (UTC d)", "date", "band", "kind", "mag (AB)", "error", "limit", "flux (nJy)", "error")


def page(views: Iterable[View]) -> bytes:
    """Return a page of alerts: picture, and the measurements as a table."""
    sections, title = [], ""
    for view in views:
        title = title or view.title
        sections.append("\n".join(_section(view)))
    more = f" and {len(sections) - 1} more" if len(sections) > 1 else ""
    return "".join(
        [_HEAD.format(title=escape(title + more), policy=_POLICY), *sections, "\n</body>\n</html>\n"]
    ).encode()


def _section(view: View) -> Iterator[str]:
    image = base64.b64encode(rendered(view, "png")).decode()
    described = f"Cutouts and light curve of {view.title}"
    yield f'<section>\n<img alt="{escape(described)}" src="data:image/png;base64,{image}">'
    yield f"<details><summary>{len(view.points)} measurements</summary>\n<table>"
    yield f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in _COLUMNS)}</tr>"
    yield from (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(p))}</tr>" for p in view.points)
    yield "</table></details>\n</section>"


def _cells(point: Point) -> list[str]:
    return [
        f"{point.mjd:.6f}",
        utc_text(point.mjd).removesuffix(" UTC"),
        point.band,
        point.kind.replace("_", " "),
        _digits(point.mag, 3),
        _digits(point.mag_err, 3),
        _digits(point.mag_lim, 3),
        _digits(point.flux, 1),
        _digits(point.flux_err, 1),
    ]


def _digits(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}" if abs(value) < 1e12 else f"{value:.3e}"
