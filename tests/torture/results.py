"""What is kept and shown of torture: figures with date, machine and commit."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, commit, machine


def distribution(values: Sequence[float]) -> dict[str, float]:
    """Return count, median, 95th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 3)

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": round(ordered[-1], 3)}


def show(title: str, counts: Mapping[str, int], found: Mapping[str, Any]) -> None:
    """Print counts by kind, then every plain figure."""
    print(title)
    for kind, count in counts.items():
        print(f"  {kind:<44} {count:>6,}")
    for name, value in found.items():
        if isinstance(value, int | float | str) or name.endswith(("_s", "_mb")):
            print(f"  {name:<44} {value if not isinstance(value, float) else round(value, 2)}")
    for problem in found.get("problems", []):
        print(f"  problem: {problem}")


def save(name: str, content: Mapping[str, Any]) -> Path:
    """Write results beside those of the benchmarks."""
    now = datetime.now(UTC)
    told = {"date": now.isoformat(timespec="seconds"), "machine": machine(), "load": os.getloadavg()}
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"torture-{name}-{now:%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps(told | {"commit": commit()} | dict(content), indent=1) + "\n")
    return file
