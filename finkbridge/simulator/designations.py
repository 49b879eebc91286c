"""Names of minor planets as the Minor Planet Center gives them."""

from __future__ import annotations

import random
from dataclasses import dataclass

_HALF_MONTHS = "ABCDEFGHJKLMNOPQRSTUVWXY"
_ORDER = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Designation:
    """A provisional designation: ``2004 JQ12``, packed ``K04J12Q``."""

    year: int
    half_month: str
    order: str
    cycle: int
    """0 to 619."""

    @property
    def text(self) -> str:
        """The designation as people write it."""
        return f"{self.year} {self.half_month}{self.order}{self.cycle or ''}"

    @property
    def packed(self) -> str:
        """The seven characters of the MPC's files."""
        century = chr(ord("A") + self.year // 100 - 10)
        cycle = f"{_BASE62[self.cycle // 10]}{self.cycle % 10}"
        return f"{century}{self.year % 100:02d}{self.half_month}{cycle}{self.order}"

    @property
    def ss_object_id(self) -> int:
        """Rubin's id of a moving object: the packed designation's bytes as one number."""
        return int.from_bytes(self.packed.encode(), "big")


def designation(field_number: int, serial: int) -> Designation:
    """Return the designation of the n-th asteroid of a field, which no other one has."""
    number = serial * 6007 + field_number
    rng = random.Random(number)  # noqa: S311
    order = _ORDER[number % len(_ORDER)]
    year = 2000 + number // len(_ORDER) % 25
    cycle = number // (len(_ORDER) * 25) % 620
    return Designation(year, rng.choice(_HALF_MONTHS), order, cycle)


def permanent_number(field_number: int, serial: int) -> str:
    """Return the number of the n-th asteroid of a field, as ZTF names known ones."""
    return str(10_000 + (serial * 7919 + field_number * 13) % 700_000)
