"""Stamps around a source: science = template + difference, as FITS bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Card = tuple[str, object]

BLOCK = 2880
"""FITS files are made of blocks of this many bytes, headers of cards of 80."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """The three images of one alert, in the same unit and geometry."""

    science: Image
    template: Image
    difference: Image


@dataclass(frozen=True, slots=True)
class Scene:
    """What the stamps show. Fluxes and noises share one unit; lengths are pixels."""

    side: int
    fwhm: float
    difference_flux: float
    reference_flux: float
    reference_offset: tuple[float, float]
    """Where the reference source is, from the centre: x, y."""
    background: float
    noise: float
    """Of one pixel of the difference."""
    whole: bool = False
    """Whether values are whole numbers, which gzip makes small."""


class NoisePool:
    """Gaussian noise drawn once and cut at a new place each time: twenty times faster than drawing."""

    SIZE = 1 << 19

    def __init__(self, seed: int) -> None:
        self._pool = np.random.default_rng(seed).standard_normal(self.SIZE, dtype=np.float32)

    def image(self, place: int, side: int) -> Image:
        """Return unit noise of `side` by `side` pixels; `place` is any integer."""
        begin = place % (self.SIZE - side * side)
        return self._pool[begin : begin + side * side].reshape(side, side)


@lru_cache(maxsize=1024)
def point_source(side: int, tenth_fwhm: int, tenth_x: int = 0, tenth_y: int = 0) -> Image:
    """Return the image of a point source of flux 1; width and offset from the centre in tenths of a pixel."""
    sigma, half = tenth_fwhm / 23.55, (side - 1) / 2
    axis = np.arange(side, dtype=np.float32) - half
    x = np.exp(-0.5 * ((axis - tenth_x / 10) / sigma) ** 2)
    y = np.exp(-0.5 * ((axis - tenth_y / 10) / sigma) ** 2)
    return np.asarray(np.outer(y, x) / (2 * np.pi * sigma * sigma), dtype=np.float32)


def draw(scene: Scene, pool: NoisePool, place: int) -> Stamps:
    """Return the stamps of a scene; `place` chooses the noise."""
    fwhm = max(round(scene.fwhm * 10), 10)
    offset = (max(min(round(o * 10), 300), -300) for o in scene.reference_offset)
    difference = scene.noise * pool.image(place, scene.side)
    difference += scene.difference_flux * point_source(scene.side, fwhm)
    template = 0.4 * scene.noise * pool.image(place * 31 + 7919, scene.side) + scene.background
    template += scene.reference_flux * point_source(scene.side, fwhm, *offset)
    if scene.whole:
        template, difference = np.rint(template), np.rint(difference)
    return Stamps(template + difference, template, difference)


def fits_unit(first: str, image: NDArray[np.floating], cards: Iterable[Card] = ()) -> bytes:
    """Return one FITS unit: header and data in blocks of 2880 bytes.

    Parameters
    ----------
    first
        ``SIMPLE`` for the primary unit, else ``XTENSION``.
    image
        Two-dimensional; float32 or float64.
    cards
        Further keywords and values, after the mandatory ones.
    """
    bits = -8 * image.dtype.itemsize
    extension: tuple[Card, ...] = (("PCOUNT", 0), ("GCOUNT", 1)) if first == "XTENSION" else ()
    header = _header(
        (
            (first, "IMAGE" if extension else True),
            ("BITPIX", bits),
            ("NAXIS", 2),
            ("NAXIS1", image.shape[1]),
            ("NAXIS2", image.shape[0]),
            *extension,
            *cards,
        )
    )
    data = image.astype(image.dtype.newbyteorder(">")).tobytes()
    return header + data + bytes(-len(data) % BLOCK)


@lru_cache(maxsize=64)
def _header(cards: tuple[Card, ...]) -> bytes:
    text = "".join(_card(name, value) for name, value in cards) + "END".ljust(80)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _card(name: str, value: object) -> str:
    if isinstance(value, bool):
        shown = ("T" if value else "F").rjust(20)
    elif isinstance(value, str):
        shown = f"'{value:<8}'"
    elif isinstance(value, float):
        shown = f"{value:.13G}".rjust(20) if "." in f"{value:.13G}" else f"{value:.1f}".rjust(20)
    else:
        shown = f"{value}".rjust(20)
    return f"{name:<8}= {shown}".ljust(80)


def gzipped(data: bytes) -> bytes:
    """Return gzip bytes with no time in them; run-length matching suits noise and blanks, and is fast."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31, 8, zlib.Z_RLE)
    return squeeze.compress(data) + squeeze.flush()
