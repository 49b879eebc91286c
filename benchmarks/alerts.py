"""Distinct simulated alerts of real size, made once and kept in the user's cache folder.

A file is the writer schema and then the alerts, each after its length in four bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import platformdirs
import xxhash

from finkbridge.simulator.stream import alerts

COUNTS = {"ztf": 20_000, "lsst": 4_000}
"""About a gigabyte of each."""
SEED = 20260301
_PROBE = 25
"""Alerts whose bytes tell whether the simulator is still the one that made a file."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class AlertFile:
    """The alerts of one survey on disk."""

    survey: str
    path: Path

    def key(self) -> bytes:
        """Return the writer schema as JSON: Fink puts it on each message as the key."""
        with self.path.open("rb") as file:
            return next(_records(file))

    def values(self) -> Iterator[bytes]:
        """Yield each alert: a bare Avro datum."""
        with self.path.open("rb") as file:
            yield from itertools.islice(_records(file), 1, None)


def alert_file(survey: str, count: int) -> AlertFile:
    """Return `count` alerts of a survey; they are made when this simulator has not made them before."""
    folder = platformdirs.user_cache_path("finkbridge") / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{survey}-{count}-{SEED}-{_simulator_version(survey, count)}.alerts"
    if not path.is_file():
        for old in folder.glob(f"{survey}-{count}-*.alerts"):
            old.unlink()  # an older simulator's
        _make(path, survey, count)
    return AlertFile(survey, path)


def _simulator_version(survey: str, count: int) -> str:
    told = xxhash.xxh3_64()
    for alert in itertools.islice(alerts(survey, seed=SEED, n=count), _PROBE):
        told.update(alert.key + alert.value)
    return told.hexdigest()


def _make(path: Path, survey: str, count: int) -> None:
    print(f"making {count:,} {survey} alerts, once: minutes", file=sys.stderr)
    begin, aside = time.monotonic(), path.with_suffix(".part")
    with contextlib.ExitStack() as undo, aside.open("wb") as file:
        undo.callback(aside.unlink, missing_ok=True)
        for number, alert in enumerate(alerts(survey, seed=SEED, n=count)):
            if number == 0:
                _write(file, alert.key)
            _write(file, alert.value)
        aside.rename(path)
    print(f"made in {time.monotonic() - begin:.0f} s: {path}", file=sys.stderr)


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(_LENGTH.pack(len(data)))
    file.write(data)


def _records(file: BinaryIO) -> Iterator[bytes]:
    while head := file.read(_LENGTH.size):
        yield file.read(_LENGTH.unpack(head)[0])


if __name__ == "__main__":
    for name in sys.argv[1:] or COUNTS:
        print(alert_file(name, COUNTS[name]).path)
