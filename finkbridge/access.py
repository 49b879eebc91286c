"""What it takes to reach a Kafka cluster and to read its messages, as plain values.

Settings are checked by pydantic, which a worker would load for nothing: it is told what they came to. So what
speaks to a cluster asks for an `Access`, which settings are and `plain` makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Secret(Protocol):
    """Text that is shown nowhere, as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """Return the text."""
        ...


class Access(Protocol):
    """What is asked of a cluster's settings: see `finkbridge.settings.ClusterSettings`."""

    @property
    def servers(self) -> str:
        """Bootstrap servers, host:port, with commas between."""
        ...

    @property
    def group_id(self) -> str:
        """The user's consumer group."""
        ...

    @property
    def username(self) -> str | None:
        """SASL user."""
        ...

    @property
    def password(self) -> Secret | None:
        """None: no SASL."""
        ...

    @property
    def kafka(self) -> Mapping[str, str | Secret]:
        """Settings of librdkafka that pass through."""
        ...

    @property
    def schema_registry(self) -> str | None:
        """URL of a schema registry."""
        ...

    @property
    def schema_registry_auth(self) -> Secret | None:
        """``user:password`` for it."""
        ...


@dataclass(frozen=True, slots=True)
class PlainSecret:
    """A secret that its representation does not show."""

    text: str = field(repr=False)

    def get_secret_value(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class PlainAccess:
    """An `Access` for other processes."""

    servers: str
    group_id: str
    username: str | None
    password: PlainSecret | None
    kafka: Mapping[str, str | PlainSecret]
    schema_registry: str | None
    schema_registry_auth: PlainSecret | None


def plain(access: Access) -> PlainAccess:
    """Return the same without anything that checks it."""
    return PlainAccess(
        access.servers,
        access.group_id,
        access.username,
        None if access.password is None else _secret(access.password),
        {key: value if isinstance(value, str) else _secret(value) for key, value in access.kafka.items()},
        access.schema_registry,
        None if access.schema_registry_auth is None else _secret(access.schema_registry_auth),
    )


def _secret(secret: Secret) -> PlainSecret:
    return PlainSecret(secret.get_secret_value())
