"""Which settings file counts: known before settings are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONFIG_FILE = "finkbridge.toml"
CONFIG_VARIABLE = "FINKBRIDGE_CONFIG"


def config_file(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file that is named, else the one in the working folder; None where there is none."""
    named = config or environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None
