"""fink-client's credential files, read as they are.

``~/.finkclient/{ztf,lsst}_credentials.yml`` (one cluster each, named by the file) and, where there is no file
of that name for ZTF, the older ``~/.finkclient/credentials.yml``. No message ever repeats what a file says.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from finkbridge import later
from finkbridge.errors import SettingsError
from finkbridge.layers import Layer, layer_of, merge

CLUSTER_FILES = {"ztf": ("ztf_credentials.yml", "credentials.yml"), "lsst": ("lsst_credentials.yml",)}
"""Files by cluster; the first one that is there counts."""

_ANEW = (
    "run `finkbridge register` with -username, -group_id and -servers: it writes a new one, and keeps this"
)

_LOG = logging.getLogger(__name__)

_TEXTS = {
    "servers": ("servers", "bootstrap.servers"),
    "group_id": ("groupid", "group_id", "group.id"),
    "username": ("sasl.username", "username"),
    "password": ("sasl.password", "password"),
}
"""Our settings by fink-client's keys; the first one that has a value wins."""

_KNOWN = [*(key for keys in _TEXTS.values() for key in keys), "mytopics", "topics", "maxtimeout"]
"""Keys that count. fink-client has others, and may get more: only one that looks like these is an error."""
_SAME = 0.8
"""So alike, of 1, are a word and one that is misspelt."""

_NOT_KAFKA = {key for keys in _TEXTS.values() for key in keys}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the credential files say, by cluster, and which ones were read."""

    layers: dict[str, Layer]
    files: dict[str, Path]

    def filling(self, said: Layer) -> tuple[Layer, tuple[str, ...]]:
        """Return what fills in `said`, and a note for each cluster whose file does not count.

        That is a cluster which `said` has on other servers: a password never goes to servers that it was
        not given for.
        """
        elsewhere = {name for name in self.layers if _servers(said, name) and self._differ(said, name)}
        used = merge(layer for name, layer in self.layers.items() if name not in elsewhere)
        return used, tuple(
            f"{self.files[name]} is not used: cluster {name} is set to other servers"
            for name in sorted(elsewhere)
        )

    def _differ(self, said: Layer, name: str) -> bool:
        own = _servers(self.layers[name], name)
        return bool(own) and own != _servers(said, name)


def read_credentials(folder: Path) -> Credentials:
    """Read the credential files of a folder; an absent folder or file counts as empty.

    Raises
    ------
    SettingsError
        A file that cannot be read, is no YAML, or has a value of a wrong type.
    """
    candidates = {name: [folder / file for file in files] for name, files in CLUSTER_FILES.items()}
    found = {name: next((p for p in paths if p.is_file()), None) for name, paths in candidates.items()}
    files = {name: path for name, path in found.items() if path is not None}
    return Credentials({name: _read_file(path, name) for name, path in files.items()}, files)


def _read_file(path: Path, cluster: str) -> Layer:
    _warn_if_open(path)
    return layer_of({"clusters": {cluster: _cluster_values(load_yaml(path), path)}}, str(path))


def load_yaml(path: Path) -> Mapping[str, Any]:
    """Return what a credentials file says; raise SettingsError where it is damaged, without repeating it."""
    yaml = later.load("yaml")  # most processes read no such file
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the credentials file {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        # The parser's own message shows the line, and a password may stand in it.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{path} is not valid YAML{where}: correct it, or {_ANEW}") from None
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path} has no keys and values: {_ANEW}")
    return content


def _cluster_values(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    _refuse_misspelt(content, path)
    values: dict[str, Any] = {}
    for setting, keys in _TEXTS.items():
        key = next((key for key in keys if content.get(key) is not None), None)
        if key is not None:
            values[setting] = _text(content[key], key, path)
    topics = topics_in(content, path)
    values |= _poll_timeout(content, path)
    kafka = {k: v for k, v in content.items() if "." in str(k) and k not in _NOT_KAFKA and v is not None}
    _check_scalars(kafka, path)
    return values | ({"topics": topics} if topics else {}) | ({"kafka": kafka} if kafka else {})


def _refuse_misspelt(content: Mapping[str, Any], path: Path) -> None:
    """Raise where a key is most likely another one: without its password, a user would search the network."""
    for key in map(str, content):
        near = [] if key in _KNOWN or "." in key else get_close_matches(key, _KNOWN, 1, _SAME)
        others = next((keys for keys in _TEXTS.values() if near and near[0] in keys), near)
        if near and not any(other in content for other in others):
            raise SettingsError(f"{path}: there is no key {key}, did you mean {near[0]}? Correct it")


def _text(value: object, key: str, path: Path) -> str:
    if key in ("servers", "bootstrap.servers") and isinstance(value, list):
        return ",".join(_text(item, key, path) for item in value)
    if not isinstance(value, str):
        raise SettingsError(f"{path}: {key} is not a text: put it in quotes")
    return value


def _poll_timeout(content: Mapping[str, Any], path: Path) -> dict[str, float]:
    value = content.get("maxtimeout")
    if value is None:
        return {}
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SettingsError(f"{path}: maxtimeout is no number of seconds above 0: correct it")
    return {"poll_timeout_s": value}


def topics_in(content: Mapping[str, Any], path: Path | str) -> list[str]:
    """Return the topics of ``mytopics`` and those subscribed with finkctl, the keys of ``topics``."""
    mine, subscribed = content.get("mytopics") or [], content.get("topics") or []
    parts = mine.split(",") if isinstance(mine, str) else mine
    if not isinstance(parts, list) or not isinstance(subscribed, list | dict):
        raise SettingsError(f"{path}: mytopics is no list of names: write one, or names with commas between")
    names = [*parts, *subscribed]
    if not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{path}: a topic is not a text: put its name in quotes")
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def _check_scalars(kafka: Mapping[str, Any], path: Path) -> None:
    bad = next((key for key, value in kafka.items() if not isinstance(value, str | int | float)), None)
    if bad is not None:
        raise SettingsError(f"{path}: {bad} is neither a text nor a number: correct it")


def _warn_if_open(path: Path) -> None:
    if os.name != "nt" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        _LOG.warning("%s can be read by others on this machine: run chmod 600 %s", path, path)


def _servers(layer: Layer, cluster: str) -> set[str]:
    clusters = layer.values.get("clusters")
    values = clusters.get(cluster) if isinstance(clusters, dict) else None
    servers = values.get("servers") if isinstance(values, dict) else None
    parts = servers.split(",") if isinstance(servers, str) else servers
    return {str(part).strip() for part in parts} if isinstance(parts, list) else set()
