"""``finkbridge config``: every setting, its value and its source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from pydantic import SecretStr

from finkbridge.cli.options import MASK, App, json_option, lake_option, pass_app
from finkbridge.cli.output import emit_json, table
from finkbridge.layers import leaves, source_of
from finkbridge.settings import ClusterSettings, Loaded


class Row(NamedTuple):
    """One setting as it is shown."""

    key: str
    value: Any
    source: str


@click.command()
@lake_option
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """Print every setting with its value and its source; secrets are masked."""
    loaded = app.load()
    rows = list(setting_rows(loaded))
    if as_json:
        emit_json(as_object(loaded, rows))
        return
    table([(key, _text(value), source) for key, value, source in rows], ("setting", "value", "source"))
    click.echo()
    for line in summary(loaded):
        click.echo(line)


def setting_rows(loaded: Loaded) -> Iterator[Row]:
    """Yield every setting, with plain values and masked secrets."""
    for key, value in leaves(loaded.settings.model_dump()):
        yield Row(key, _shown(value), source_of(key, loaded.sources) or "default")


def as_object(loaded: Loaded, rows: list[Row]) -> dict[str, Any]:
    """Return all that the command knows as one object."""
    return {
        "settings": [row._asdict() for row in rows],
        "config": loaded.config,
        "credential_files": list(loaded.credential_files),
        "notes": list(loaded.notes),
        "clusters": {name: access(cluster) for name, cluster in loaded.settings.clusters.items()},
    }


def summary(loaded: Loaded) -> Iterator[str]:
    """Yield lines that say which files were read and which clusters would be used."""
    yield f"settings file: {loaded.config or 'none'}"
    files = ", ".join(map(str, loaded.credential_files))
    yield f"credential files: {files or f'none in {loaded.settings.credentials}'}"
    yield from loaded.notes
    for name, cluster in loaded.settings.clusters.items():
        yield f"cluster {name}: {cluster.servers}, {access(cluster)}"
    if not loaded.settings.clusters:
        yield "no cluster yet: set clusters.ztf.servers in finkbridge.toml, or run finkbridge register"


def access(cluster: ClusterSettings) -> str:
    """Say how the cluster is accessed."""
    if cluster.password is None:
        return "without password"
    mechanism = cluster.kafka.get("sasl.mechanism") or cluster.kafka.get("sasl.mechanisms") or "SCRAM-SHA-512"
    return f"{mechanism} as {cluster.username}"


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _text(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(value) or None
    if isinstance(value, dict):
        return None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
