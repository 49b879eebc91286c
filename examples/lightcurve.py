"""Plot the light curve of an object to PNG: its alerts and the histories that they carry.

    python examples/lightcurve.py [LAKE] [OBJECT] [PNG]

Without an object, the one with the most alerts. Needs matplotlib (pip install 'finkbridge[plot]').
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import matplotlib as mpl
import matplotlib.pyplot as plt

mpl.use("Agg")
COLOURS = {"u": "purple", "g": "tab:green", "r": "tab:red", "i": "tab:orange", "z": "brown", "y": "black"}
BUSIEST = "SELECT object_id FROM alerts WHERE survey = 'ztf' GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT 1"


def main(lake: str, object_id: str | None, png: str) -> None:
    with duckdb.connect(f"{lake}/catalog.duckdb", read_only=True) as catalog:
        found = catalog.execute(BUSIEST).fetchall() or [("any ZTF object",)]
        object_id = object_id or found[0][0]
        points = catalog.sql("FROM lightcurve(?)", params=[object_id]).pl()
    if points.is_empty():
        sys.exit(f"lightcurve.py: {lake} has no alert of {object_id}")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (band,), mine in points.group_by("band", maintain_order=True):
        seen = mine.drop_nulls("mag")
        limits = mine.filter(mine["kind"] == "upper_limit")
        colour = COLOURS.get(band, "grey")
        axes.errorbar(seen["mjd"], seen["mag"], seen["mag_err"], fmt="o", ms=4, color=colour, label=band)
        axes.plot(limits["mjd"], limits["mag_lim"], "v", ms=4, mfc="none", color=colour, alpha=0.5)
    axes.invert_yaxis()
    axes.ticklabel_format(useOffset=False)
    axes.set(xlabel="MJD (UTC days)", ylabel="Difference magnitude (AB)", title=object_id)
    axes.legend(title="band")
    figure.savefig(png, dpi=110)
    print(f"{Path(png).resolve()}: {points.height} points of {object_id}")


if __name__ == "__main__":
    given = [*sys.argv[1:], *[None] * 3]
    try:
        main(given[0] or "lake", given[1], given[2] or "lightcurve.png")
    except duckdb.IOException:
        sys.exit(f"lightcurve.py: there is no lake at {given[0] or 'lake'}: name its folder, or drain first")
