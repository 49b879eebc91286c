"""Whether the installed packages are those that finkbridge was made for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata

from finkbridge.doctor.findings import Finding

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?\s*\(?(?P<ranges>[^;)]*)\)?\s*(;(?P<marker>.*))?"
)
_RANGE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9a-zA-Z.*+!]*)")


def packages(name: str = "finkbridge") -> Iterator[Finding]:
    """Compare what is installed with what the package's metadata asks for."""
    wrong = list(_wrong(metadata.requires(name) or ()))
    yield from wrong
    if not wrong:
        known = ("confluent-kafka", "pyarrow", "duckdb", "datafusion", "fastavro")
        versions = ", ".join(f"{package} {metadata.version(package)}" for package in known)
        yield Finding("packages", f"{name} {metadata.version(name)}", "good", versions)


def _wrong(requirements: Iterable[str]) -> Iterator[Finding]:
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement.strip())
        if match is None:
            continue
        package, ranges = match["name"], match["ranges"].strip()
        installed = _version(package)
        is_extra = "extra" in (match["marker"] or "")
        if installed is None and is_extra:
            continue
        todo = f"pip install '{package}{ranges}'"
        if installed is None:
            yield Finding("packages", package, "bad", "not installed", todo)
        elif not fits(installed, ranges):
            yield Finding("packages", package, "doubtful", f"{installed} is installed, not {ranges}", todo)


def fits(version: str, ranges: str) -> bool:
    """Whether a version is in ranges such as ``>=2.16,<3``; only their release numbers are compared."""
    mine = _release(version)
    return all(_compares(mine, sign, number) for sign, number in _RANGE.findall(ranges))


def _compares(mine: tuple[int, ...], sign: str, number: str) -> bool:
    other = _release(number)
    width = max(len(mine), len(other))
    a, b = (numbers + (0,) * (width - len(numbers)) for numbers in (mine, other))
    if sign == "~=":
        return a >= b and a[: len(other) - 1] == other[:-1]
    if number.endswith("*"):
        return (a[: len(other)] == other) == (sign == "==")
    return {">=": a >= b, "<=": a <= b, "==": a == b, "!=": a != b, ">": a > b, "<": a < b}[sign]


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", re.split(r"[a-zA-Z+*]", version)[0])))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
