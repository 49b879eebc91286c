"""``python -m benchmarks.query``: the usual questions to a lake of a million deliveries, in DuckDB.

Each is asked in a fresh connection over the published catalog, as a shell or notebook would.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import hpgeom
import numpy as np

from benchmarks import big_lake, results
from finkbridge import layout
from finkbridge.surveys.sky import HEALPIX_ORDER

TIMES = 7
SERIAL = 4_321
ARCSEC = 5.0
COARSE = 14
"""HEALPix order of the pixels (13 arcsec) that cover the cone: few, as each costs time in every file."""
DISTANCE = (
    "degrees(2 * asin(sqrt(pow(sin(radians(dec - {dec}) / 2), 2) + cos(radians(dec)) * "
    "cos(radians({dec})) * pow(sin(radians(ra - {ra}) / 2), 2)))) * 3600 < {arcsec}"
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
        begin = time.monotonic()
        with big_lake.build(Path(work)):
            pass
        files = sum(1 for _ in Path(work).glob("deliveries/**/*.parquet"))
        size = sum(file.stat().st_size for file in Path(work).glob("deliveries/**/*.parquet"))
        seconds = time.monotonic() - begin
        print(f"lake: {files} files, {size / 1e6:.0f} MB, built in {seconds:.0f} s")
        found = [_ask(Path(work) / layout.CATALOG, what, sql) for what, sql in _questions().items()]
    saved = results.save(
        "query", {"files": files, "bytes": size, "queries": found, "load": os.getloadavg()[0]}
    )
    print(f"written: {saved}")
    return 0


def _questions() -> dict[str, str]:
    name = big_lake.object_name(SERIAL)
    (ra,), (dec,) = big_lake.place_of(np.array([SERIAL]))
    near = DISTANCE.format(ra=ra, dec=dec, arcsec=ARCSEC)
    return {
        "rows": "SELECT count(*) FROM deliveries",
        "light curve of an object, from deliveries": (
            f"SELECT mjd, band, mag, mag_err FROM deliveries WHERE object_id = '{name}' ORDER BY mjd"
        ),
        "the same, from alerts": (
            f"SELECT mjd, band, mag, topics FROM alerts WHERE object_id = '{name}' ORDER BY mjd"
        ),
        f"cone of {ARCSEC:.0f} arcsec, HEALPix ranges": (
            f"SELECT object_id, mjd, mag FROM deliveries WHERE ({_pixels(float(ra), float(dec))}) AND {near}"
        ),
        "alerts per night": "SELECT night, count(*) FROM deliveries GROUP BY night ORDER BY night",
        "alerts of the last night": (
            f"SELECT count(*) FROM alerts WHERE night = {big_lake.last_night()} AND mag < 18"
        ),
    }


def _pixels(ra: float, dec: float) -> str:
    ranges = hpgeom.query_circle(
        2**COARSE, ra, dec, ARCSEC / 3600, inclusive=True, lonlat=True, degrees=True, return_pixel_ranges=True
    )
    scale = 4 ** (HEALPIX_ORDER - COARSE)
    wanted = (f"healpix_29 BETWEEN {start * scale} AND {end * scale - 1}" for start, end in ranges.tolist())
    return " OR ".join(wanted)


def _ask(catalog: Path, what: str, sql: str) -> dict[str, object]:
    taken = []
    for _ in range(TIMES):
        with duckdb.connect(str(catalog), read_only=True) as connection:
            begin = time.monotonic()
            rows = connection.execute(sql).fetchall()
            taken.append(time.monotonic() - begin)
    first = rows[0] if len(rows) == 1 else ""
    print(f"{what}: {statistics.median(taken) * 1e3:.0f} ms ({len(rows)} rows) {first}")
    return {"what": what, "sql": sql, "rows": len(rows), "seconds": taken}


if __name__ == "__main__":
    sys.exit(main())
