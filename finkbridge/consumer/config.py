"""The dict that fink-client's scripts give to their consumer, as our settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError

from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings

KEYS = {
    "servers": ("bootstrap.servers", "servers"),
    "group_id": ("group.id", "group_id", "groupid"),
    "username": ("sasl.username", "username"),
    "password": ("sasl.password", "password"),
    "schema_registry": ("schema.registry.url", "schema_registry"),
    "schema_registry_auth": ("schema.registry.basic.auth.user.info", "schema_registry_auth"),
}
"""Ours by the keys of a script's dict; the first one that has a value counts."""
_SECRETS = ("password", "schema_registry_auth")
_NOT_KAFKA = {key for keys in KEYS.values() for key in keys}


def cluster_settings(config: Mapping[str, Any]) -> ClusterSettings:
    """Return the settings that a script's dict stands for.

    Parameters
    ----------
    config
        fink-client's keys, old and new, and any of librdkafka's with a dot. A password that is absent, None
        or empty means no SASL; a user's name alone means nothing.

    Raises
    ------
    SettingsError
        Servers or group are missing, or a value is none; no message repeats a secret.
    """
    values = {name: _first(config, keys) for name, keys in KEYS.items()}
    for name in ("servers", "group_id"):
        if values[name] is None:
            raise SettingsError(f"the consumer's config has no {KEYS[name][0]}: add it, as Fink sent it")
    kafka = {k: v for k, v in config.items() if "." in k and k not in _NOT_KAFKA and v is not None}
    given = {name: value for name, value in values.items() if value is not None}
    given |= {name: SecretStr(str(given[name])) for name in _SECRETS if name in given}
    if given.get("password") is not None and "username" not in given:
        raise SettingsError(
            "the consumer's config has a password and no username: add the one or drop the other"
        )
    try:
        return ClusterSettings.model_validate(given | {"kafka": kafka})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"the consumer's config: {where}: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((config[key] for key in keys if config.get(key) not in (None, "")), None)
