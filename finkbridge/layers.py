"""Layers of settings: where values come from, how one covers another, and what to say of a bad value."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from finkbridge.errors import SettingsError

PREFIX = "FINKBRIDGE_"
TEST_PREFIX = "FINKBRIDGE_TEST_"
"""Variables that belong to the project's own test suite."""

OPTION_SOURCE = "command option"
SECRET_SECTIONS = ("clusters", "ledger", "bot")
"""Top-level keys under which an error never repeats a value: a password may stand in the wrong place."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Values as a tree, and the source of each leaf by dotted key."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def only(self, key: str) -> Layer:
        """Return this layer with one top-level key."""
        return Layer({k: v for k, v in self.values.items() if k == key}, self.sources)


def layer_of(values: Mapping[str, Any], source: str) -> Layer:
    """Return a layer in which everything comes from one source."""
    tree = _normal(dict(values))
    return Layer(tree, {key: source for key, _ in leaves(tree)})


def read_toml(path: Path) -> Layer:
    """Read a TOML file; raise SettingsError when it is not there or is no TOML."""
    try:
        return layer_of(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def read_environment(environ: Mapping[str, str], ignore: Collection[str] = ()) -> Layer:
    """Return the layer of ``FINKBRIDGE_*`` variables.

    Two underscores go one level down (``FINKBRIDGE_CLUSTERS__ZTF__SERVERS``). A text that starts with
    ``{`` or ``[`` is JSON. An empty variable counts as not set.
    """
    layers = []
    for name in sorted(environ):
        mine = name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in ignore
        if mine and environ[name]:
            layers.append(_variable_layer(name, environ[name]))
    return merge(layers)


def read_options(overrides: Mapping[str, Any]) -> Layer:
    """Return the layer of command options, given by dotted key; None counts as not given."""
    given = {key: value for key, value in overrides.items() if value is not None}
    return merge(layer_of(_nest(key.split("."), value), OPTION_SOURCE) for key, value in given.items())


def merge(layers: Iterable[Layer]) -> Layer:
    """Lay each layer over the ones before it, key by key."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        values = _cover(values, layer.values)
        sources |= layer.sources
    return Layer(values, {key: sources[key] for key, _ in leaves(values) if key in sources})


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is not a table, by dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def source_of(key: str, sources: Mapping[str, str]) -> str | None:
    """Return the source of a key, or of the first key below it, or of the closest one above it."""
    below = next((text for k, text in sources.items() if k == key or k.startswith(key + ".")), None)
    if below is not None or "." not in key:
        return below
    above = key.rpartition(".")[0]
    while above and above not in sources:
        above = above.rpartition(".")[0]
    return sources.get(above)


def variable_name(key: str) -> str:
    """Return the environment variable of a dotted key."""
    return PREFIX + key.upper().replace(".", "__")


def close_matches(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean a or b?``, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=2)
    return f", did you mean {' or '.join(matches)}?" if matches else ""


def explain(error: ValidationError, model: type[BaseModel], sources: Mapping[str, str]) -> str:
    """Say in one line what is wrong with the first bad value, where it comes from and what to do."""
    details = error.errors(include_url=False, include_context=False)
    # An unknown key is often the reason why another one is missing.
    first = min(details, key=lambda item: item["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    source = source_of(key.rpartition(".")[0] if first["type"] == "missing" else key, sources)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    text = f"{_problem(first, key, source, model)}{more}"
    is_of_one = bool(first["loc"])  # else settings do not fit together
    return f"{key} ({source or 'default'}): {text}" if is_of_one else text


def known_keys(model: type[BaseModel], cluster: str = "ztf") -> Iterator[str]:
    """Yield the dotted key of every setting, with `cluster` for a name that the user chooses."""
    for name, info in model.model_fields.items():
        inner = _inner_model(info.annotation)
        if inner is None:
            yield name
        else:
            middle = f".{cluster}" if get_origin(info.annotation) is dict else ""
            yield from (f"{name}{middle}.{key}" for key in known_keys(inner))


def _problem(details: ErrorDetails, key: str, source: str | None, model: type[BaseModel]) -> str:
    if details["type"] == "extra_forbidden":
        return "no such setting" + _suggest(key, source, model)
    if details["type"] == "missing":
        return f"missing: set {key} in finkbridge.toml or {variable_name(key)}"
    text = details["msg"].removeprefix("Value error, ")
    value = details["input"]
    shown = key.partition(".")[0] not in SECRET_SECTIONS and isinstance(value, str | int | float)
    return f"{text}, not {value!r}" if shown else text


def _suggest(key: str, source: str | None, model: type[BaseModel]) -> str:
    parts = key.split(".")
    known = list(known_keys(model, parts[1] if parts[0] == "clusters" and len(parts) > 1 else "ztf"))
    matches = _closest(key, known)
    if source and source.startswith(PREFIX):
        matches = [variable_name(match) for match in matches]
    advice = f", did you mean {' or '.join(matches[:2])}?" if matches else ""
    return advice or ": remove it, or see `finkbridge config` for all settings"


def _closest(key: str, known: Sequence[str]) -> list[str]:
    """Return keys and sections like this one: of the same name, else alike beside it, else anywhere."""
    parent = key.rpartition(".")[0]
    names = dict.fromkeys([*known, *(k.rpartition(".")[0] for k in known if "." in k)])
    beside = [k for k in names if k.rpartition(".")[0] == parent]
    return _alike(key, names, 1.0) or _alike(key, beside, 0.75) or _alike(key, names, 0.8)


def _alike(key: str, others: Iterable[str], ratio: float) -> list[str]:
    name = key.rpartition(".")[2]
    return [k for k in others if difflib.SequenceMatcher(None, name, k.rpartition(".")[2]).ratio() >= ratio]


def _inner_model(annotation: object) -> type[BaseModel] | None:
    inner = get_args(annotation)[-1] if get_origin(annotation) is dict else annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _variable_layer(name: str, text: str) -> Layer:
    path = name[len(PREFIX) :].lower().split("__")
    in_kafka = len(path) > 3 and path[0] == "clusters" and path[2] == "kafka"
    if in_kafka:
        # librdkafka's keys have dots, which a shell does not take in a name, and no underscores.
        path = [*path[:3], ".".join(path[3:]).replace("_", ".")]
    if text[0] in "[{" and not in_kafka and path[-1] not in {"password", "username"}:
        return layer_of(_nest(path, _json(name, text)), name)
    return layer_of(_nest(path, text), name)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        # The position alone: the text may hold a password.
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise SettingsError(f"{name} is not valid JSON at character {at + 1}: correct the variable") from None


def _nest(path: Sequence[str], value: Any) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if len(path) > 1 else value}


def _cover(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        k: _cover(under[k], v)
        for k, v in over.items()
        if isinstance(v, dict) and isinstance(under.get(k), dict)
    }
    return {**under, **over, **both}


def _normal(tree: dict[str, Any]) -> dict[str, Any]:
    clusters = tree.get("clusters")
    if not isinstance(clusters, dict):
        return tree
    return {**tree, "clusters": {name: _normal_cluster(cluster) for name, cluster in clusters.items()}}


def _normal_cluster(cluster: Any) -> Any:
    """Give each thing one name, so that layers cover each other: dotted Kafka keys, SASL user apart."""
    if not isinstance(cluster, dict) or not isinstance(cluster.get("kafka"), dict):
        return cluster
    kafka = dict(leaves(cluster["kafka"]))
    lifted = {k: kafka.pop(f"sasl.{k}") for k in ("username", "password") if f"sasl.{k}" in kafka}
    rest = {key: value for key, value in cluster.items() if key != "kafka"}
    return rest | lifted | ({"kafka": kafka} if kafka else {})
