"""librdkafka's configuration of one cluster, and its clients built from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from finkbridge.access import Access, Secret
from finkbridge.errors import SettingsError

Config = dict[str, Any]
"""librdkafka's keys and values, secrets in clear: never to be shown or logged."""
Client = TypeVar("Client")

COMMON: Config = {
    # What matters comes back as our own errors; `kafka = {log_level = 7, debug = "all"}` shows the rest.
    "log_level": 0,
    # A broker that restarts is found again within a second instead of ten.
    "reconnect.backoff.max.ms": 1000,
    "allow.auto.create.topics": False,
    "client.id": "finkbridge",
}


def client_config(settings: Access, defaults: Config, forced: Config) -> Config:
    """Return a client's configuration: defaults, then what the user passes through, then what must hold.

    Parameters
    ----------
    settings : Access
        Servers, credentials and the librdkafka keys that pass through.
    defaults, forced : Config
        What the kind of client wants, below and above the user's keys.
    """
    passed = {key: _clear(value) for key, value in settings.kafka.items()}
    config = COMMON | defaults | _sasl(settings) | passed | forced
    return config | {"bootstrap.servers": settings.servers}


def private_group(settings: Access) -> str:
    """Return the bridge's own consumer group: never the user's, which other clients read with."""
    return f"{settings.group_id}-finkbridge"


def _sasl(settings: Access) -> Config:
    if settings.password is None:
        return {}
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": settings.username,
        "sasl.password": settings.password.get_secret_value(),
    }


def _clear(value: Secret | str) -> str:
    return value if isinstance(value, str) else value.get_secret_value()


def build_client(kind: Callable[[Config], Client], cluster: str, config: Config) -> Client:
    """Return ``kind(config)``.

    Raises
    ------
    SettingsError
        A key that librdkafka does not know, or a value it does not take; the value is not repeated.
    """
    try:
        return kind(config)
    except KafkaException as failure:
        reason = _hide(str(failure.args[0].str()), config)
        raise SettingsError(f"cluster {cluster}: librdkafka refuses its settings: {reason}") from None


def _hide(text: str, config: Config) -> str:
    """Leave out every configured value that may be a secret."""
    secret = ("password", "secret", "token", "jaas", "key", "oauthbearer")
    for name, value in config.items():
        if any(word in name for word in secret) and isinstance(value, str) and value:
            text = text.replace(value, "****")
    return text
