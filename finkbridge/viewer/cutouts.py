"""The three images of an alert: read within bounds, the right way up."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from finkbridge.surveys import cutout_columns
from finkbridge.viewer.fits import FitsError, FitsImage, Pixels, read_image

MAX_STORED_BYTES = 16 << 20
MAX_FITS_BYTES = 32 << 20
"""Of one cutout, unzipped; real ones have 20 to 46 kB."""

ZTF_ARCSEC = 1.012
"""Side of a pixel of ZTF's camera."""
ZTF_NORTH, ZTF_EAST = (0.0, 1.0), (-1.0, 0.0)
"""ZTF's stamps say nothing of the sky. Their rows run from north to south, their columns from east to west:
read off where the reference source is that `ranr` and `decnr` name."""

Vector = tuple[float, float]


class Stamp(NamedTuple):
    """A cutout as an alert has it."""

    name: str
    """``Science``, ``Template`` or ``Difference``."""
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An image that can be shown, or why it cannot."""

    name: str
    pixels: Pixels | None
    """The first row is the lowest on the page; NaN where there is no value. None: see `problem`."""
    problem: str = ""
    unit: str = ""
    arcsec: float | None = None
    """Side of a pixel, where it is known."""
    north: Vector | None = None
    """Directions on the page (right, up), of length 1; None where they are not known."""
    east: Vector | None = None


def stamps(alert: Mapping[str, Any], survey: str) -> list[Stamp]:
    """Return the cutouts that an alert has, as bytes, in the order science, template, difference."""
    return [
        Stamp(name.removeprefix("cutout"), data) for name in _columns(survey) if (data := _data(alert, name))
    ]


def cutouts(alert: Mapping[str, Any], survey: str) -> list[Cutout]:
    """Return an alert's cutouts, always three; whatever its bytes, this ends soon and takes little memory."""
    return [_cutout(name.removeprefix("cutout"), _data(alert, name), survey) for name in _columns(survey)]


def fits_bytes(data: bytes) -> bytes:
    """Return a stamp as a FITS file: unzipped if it is gzipped, else as it is.

    Raises
    ------
    FitsError
        It is larger than `MAX_FITS_BYTES`, or its gzip is damaged, or it does not begin as FITS files do.
    """
    if len(data) > MAX_STORED_BYTES:
        raise FitsError(f"it has {len(data):,} bytes")
    plain = _unzipped(data) if data.startswith(b"\x1f\x8b") else data
    if not plain.startswith(b"SIMPLE"):
        raise FitsError("no FITS at byte 0")
    return plain


def _unzipped(data: bytes) -> bytes:
    unzip = zlib.decompressobj(31)
    try:
        plain = unzip.decompress(data, MAX_FITS_BYTES + 1)
    except zlib.error as error:
        raise FitsError(f"its gzip is damaged: {error}") from None
    if len(plain) > MAX_FITS_BYTES:
        raise FitsError(f"it has more than {MAX_FITS_BYTES >> 20} MB once unzipped")
    if not unzip.eof:
        raise FitsError("its gzip is cut")
    return plain


def _columns(survey: str) -> tuple[str, ...]:
    return cutout_columns(survey) or ("cutoutScience", "cutoutTemplate", "cutoutDifference")


def _data(alert: Mapping[str, Any], name: str) -> bytes:
    stamp = alert.get(name)
    if isinstance(stamp, Mapping):
        stamp = stamp.get("stampData")
    return bytes(stamp) if isinstance(stamp, bytes | bytearray | memoryview) else b""


def _cutout(name: str, data: bytes, survey: str) -> Cutout:
    if not data:
        return Cutout(name, None, "not in the alert")
    try:
        image = read_image(fits_bytes(data))
    except FitsError as error:
        return Cutout(name, None, str(error))
    if not np.isfinite(image.pixels).any():
        return Cutout(name, None, "no pixel has a value")
    unit = image.cards.get("BUNIT", "")
    if survey == "ztf":
        return Cutout(name, image.pixels[::-1], "", unit, ZTF_ARCSEC, ZTF_NORTH, ZTF_EAST)
    arcsec, north, east = _sky(image)
    return Cutout(name, image.pixels, "", unit, arcsec, north, east)


def _sky(image: FitsImage) -> tuple[float | None, Vector | None, Vector | None]:
    """Return the side of a pixel, and where north and east are, by the header's matrix (degrees a pixel)."""
    matrix = _matrix(image)
    if matrix is None:
        return None, None, None
    with np.errstate(all="ignore"):  # a hostile header's numbers are told by what comes out
        arcsec = math.sqrt(abs(float(np.linalg.det(matrix)))) * 3600
        if not 1e-3 < arcsec < 1e3:
            return None, None, None
        east, north = (_unit(column) for column in np.linalg.inv(matrix).T)
    return (arcsec, north, east) if np.isfinite([*east, *north]).all() else (None, None, None)


def _matrix(image: FitsImage) -> Pixels | None:
    names = ("1_1", "1_2", "2_1", "2_2")
    values = [image.number(f"CD{name}") for name in names]
    if None in values:
        values = [image.number(f"PC{name}") for name in names]
        scales = [
            image.number("CDELT1"),
            image.number("CDELT1"),
            image.number("CDELT2"),
            image.number("CDELT2"),
        ]
        values = [None if v is None or s is None else v * s for v, s in zip(values, scales, strict=True)]
    return None if None in values else np.array(values, np.float64).reshape(2, 2)


def _unit(vector: Pixels) -> Vector:
    x, y = vector / np.hypot(*vector)
    return float(x), float(y)
