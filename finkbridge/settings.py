"""Settings: what they are, their units and defaults, and why.

They come from five layers, each over the one before, key by key: the defaults below, fink-client's
credential files, ``finkbridge.toml``, ``FINKBRIDGE_*`` variables, the options of a command. An unknown key is
an error in each of them. ``finkbridge config`` prints the result with its sources.

Relative paths are relative to the working folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)

from finkbridge.config_file import CONFIG_FILE, CONFIG_VARIABLE, config_file
from finkbridge.credentials import read_credentials
from finkbridge.errors import SettingsError
from finkbridge.layers import Layer, close_matches, explain, merge, read_environment, read_options, read_toml
from finkbridge.setting_types import (
    Bytes,
    ClusterName,
    Cron,
    FilePath,
    KafkaKeys,
    LedgerUrl,
    Name,
    Patterns,
    RegistryUrl,
    Servers,
    Start,
    Url,
)
from finkbridge.spellings import passwords_in, spellings

COORDINATOR_BYTES = 200_000_000
"""Set aside for the coordinating process and the fork server: an estimate, on the safe side. With two workers
all processes together peak at 574 MiB (ZTF) and 757 MiB (LSST), see docs/performance.md.
"""

WORKER_BYTES = 100_000_000
"""Estimate for a worker before it has a message."""

WORKER_BYTES_PER_SEGMENT_BYTE = 5.0
"""Estimate for a worker above its modules, per byte of a segment: messages, fetch queue, Arrow, Parquet."""


class _Values(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class ClusterSettings(_Values):
    """One Kafka cluster with its credentials."""

    servers: Servers
    """Bootstrap servers, host:port, several with commas between."""
    group_id: Annotated[Name, Field(min_length=1)] = "finkbridge"
    """Your consumer group. Offsets are told to ``<group_id>-finkbridge``, never to this group itself."""
    username: Name | None = None
    """SASL user; counts only with a password."""
    password: SecretStr | None = None
    """None: no SASL, as on Fink's public servers. Else SCRAM-SHA-512, unless `kafka` says otherwise."""
    topics: Patterns = ()
    """Names and patterns (``fink_*_ztf``) of the topics to drain when a command names none. No pattern stands
    for Fink's counting topics (``fink_ztf_YYYYMMDD``) nor for ``<topic>_schema``; their names do."""
    schema_registry: RegistryUrl | None = None
    """URL of a schema registry (Confluent's interface), where values begin with a zero byte and a schema's
    id, as in Rubin's own stream. None: no value is taken for such."""
    schema_registry_auth: SecretStr | None = None
    """``user:password`` for the registry, where it wants one."""
    poll_timeout_s: PositiveFloat = 10.0
    """Seconds without an alert after which ``finkbridge consumer`` says so; ``maxtimeout`` in fink-client's
    files."""
    kafka: KafkaKeys = Field(default_factory=dict)
    """librdkafka settings that pass through as they are; passwords, keys and tokens are kept as secrets."""

    @model_validator(mode="after")
    def _password_has_user(self) -> ClusterSettings:
        if self.password is not None and not self.username:
            raise ValueError("there is a password and no username: set both or neither")
        return self


class DrainSettings(_Values):
    """How much lands together, and where a new topic starts."""

    segment_bytes: Bytes = 64_000_000
    """Memory of a segment's messages: large enough for fast Parquet, small enough for several at once."""
    max_messages: PositiveInt | None = None
    """Messages that one drain takes at most, over all topics; None: everything that is there at its start."""
    max_bytes: Bytes | None = None
    """Bytes that one drain takes at most, over all topics; None: everything that is there at its start."""
    start: Start = "earliest"
    """Where a topic starts that was never drained before: earliest, latest, or a time (UTC if no zone)."""

    @property
    def worker_bytes(self) -> int:
        """Memory that one worker takes, in bytes: an estimate, on the safe side."""
        return WORKER_BYTES + int(WORKER_BYTES_PER_SEGMENT_BYTE * self.segment_bytes)


class FollowSettings(_Values):
    """When ``finkbridge follow`` closes a batch: the first limit that is reached."""

    batch_age_s: PositiveFloat = 2.0
    """Seconds that the oldest message waits at most, so that an alert is in SQL within 5 s."""
    batch_bytes: Bytes = 16_000_000
    """Bytes that close a batch before its age does."""
    idle_s: PositiveFloat = 0.5
    """Seconds between two looks at the end offsets: one small request per cluster each."""


class DecodeSettings(_Values):
    """How Avro becomes Arrow."""

    engine: Literal["auto", "fastavro"] = "auto"
    """``auto``: in bulk, and by fastavro what cannot be. ``fastavro``: all, some 15 times slower."""
    max_schemas: PositiveInt = 64
    """Writer schemas of a topic until it is recreated, each of which makes files of its own and all views
    longer. A topic has one, and a new one some times a year; messages with more than so many go to
    quarantine, from where those that are named can be requeued."""
    max_columns: PositiveInt = 20_000
    """Columns of a topic's writer schemas together, nested ones counted, until it is recreated: an alert of
    ZTF has some 300, of LSST 500. One schema may have a quarter of them. As with ``max_schemas``, messages
    with more go to quarantine."""
    schema_folder: FilePath | None = None
    """Folder of writer schemas for messages whose key only names one, as old topics of Fink's have it:
    ``<broker version>_<science version>.avsc``, also behind a prefix, and with ``_replayed`` at its end for
    alerts that the file of the plain name does not fit. fink-client's repository has them in ``schemas``."""
    schema_file: FilePath | None = None
    """Avro writer schema (.avsc) for every message, whatever the messages say."""


class MergeSettings(_Values):
    """When the small files of an open night become one."""

    enabled: bool = True
    """False: only ever add files."""
    files: Annotated[int, Field(ge=2)] = 64
    """Files of one table and night above which they are merged: a query costs as many opens as files."""
    grace_s: NonNegativeFloat = 3600.0
    """Seconds that replaced files stay, as a query that listed one fails when it goes."""


class StatusSettings(_Values):
    """When ``finkbridge status --check`` warns."""

    retention_hours: PositiveFloat = 96.0
    """Hours that messages live where the broker does not tell: Fink keeps about 4 days."""
    warn_hours: PositiveFloat = 12.0
    """Hours before the oldest unread message expires at which the check fails: one night to act."""


class CertificateSettings(_Values):
    """When a night counts as over."""

    late_hours: Annotated[float, Field(ge=0, le=24 * 366)] = 6.0
    """Hours after a night's end in which its alerts may still be sent. Fink sends within minutes, but LSST's
    nights end at noon, an hour or two after the last exposure, and a broker that was down catches up."""
    trust_rebuilt: bool = False
    """Judge nights before ``rebuild --ledger`` by what the lake's files say. It does not know what had been
    lost of topics and partitions that have no file."""


class SlackSettings(_Values):
    """Slack, for ``finkbridge bot``. A secret may be ``file:PATH`` of a file of mode 600 that has it."""

    token: SecretStr | None = None
    """Token of a bot (xoxb-...) with the scopes chat:write and files:write."""
    webhook: SecretStr | None = None
    """Address of an incoming webhook, used where no channel is named; it takes no pictures."""
    api: Url = "https://slack.com/api"
    """Where Slack's web API is."""


class TelegramSettings(_Values):
    """Telegram, for ``finkbridge bot``. A secret may be ``file:PATH`` of a file of mode 600 that has it."""

    token: SecretStr | None = None
    """Token of a bot, as @BotFather gives it."""
    api: Url = "https://api.telegram.org"
    """Where Telegram's bot API is; a server of your own works too."""


class WebhookSettings(_Values):
    """A webhook, for ``finkbridge bot``. A secret may be ``file:PATH`` of a file of mode 600 that has it."""

    url: SecretStr | None = None
    """Address that alerts are posted to as JSON; a secret, as whoever knows it may post."""
    token: SecretStr | None = None
    """Sent along as ``Authorization: Bearer``."""


class BotSettings(_Values):
    """Where ``finkbridge bot`` posts alerts."""

    state: FilePath | None = None
    """SQLite file of what was posted; None: ``bot.db`` in the lake, which the bot must be able to write."""
    poll_s: PositiveFloat = 2.0
    """Seconds between two looks at the ledger: one small query each."""
    portal_ztf: Url = "https://ztf.fink-portal.org"
    """Page of an object, with ``/OBJECT`` behind it."""
    portal_lsst: Url = "https://lsst.fink-portal.org"
    """Page of an object, with ``/OBJECT`` behind it."""
    slack: SlackSettings = SlackSettings()
    """See `SlackSettings`."""
    telegram: TelegramSettings = TelegramSettings()
    """See `TelegramSettings`."""
    webhook: WebhookSettings = WebhookSettings()
    """See `WebhookSettings`."""

    @property
    def secrets(self) -> list[SecretStr]:
        """Every token and address that nobody may see."""
        found = (
            self.slack.token,
            self.slack.webhook,
            self.telegram.token,
            self.webhook.url,
            self.webhook.token,
        )
        return [secret for secret in found if secret is not None]


class ScheduleSettings(_Values):
    """When Dagster looks for something to drain."""

    cron: Cron = "*/5 * * * *"
    """Five cron fields, or a name such as ``@hourly``; UTC. A run costs about 3 s of one core, a look that
    finds nothing next to none."""


class Settings(_Values):
    """Everything that can be set."""

    lake: FilePath = Path("lake")
    """Folder of the lake; made when it is not there."""
    ledger: LedgerUrl | None = None
    """SQLAlchemy URL of a PostgreSQL ledger, needed by several machines; None: SQLite in the lake."""
    credentials: FilePath = Field(Path("~/.finkclient"), validate_default=True)
    """Folder of fink-client's credential files, which fill in what `clusters` does not say."""
    clusters: dict[ClusterName, ClusterSettings] = Field(default_factory=dict)
    """Kafka clusters by name; Fink runs ``ztf`` and ``lsst``."""
    workers: NonNegativeInt | None = None
    """Worker processes; None: as many as cores, memory and work allow; 0: work in this process."""
    memory_bytes: Bytes = 2**30
    """Bytes of memory that all processes together may use; bounds workers and segments in flight."""
    worker_timeout_s: PositiveFloat = 60.0
    """Seconds that decoding a segment may take, and one more per MB, before its process is ended as one that
    hangs. The message that does it goes to quarantine."""
    broker_timeout_s: PositiveFloat = 10.0
    """Seconds without an answer after which a cluster counts as unreachable."""
    drain: DrainSettings = DrainSettings()
    """See `DrainSettings`."""
    follow: FollowSettings = FollowSettings()
    """See `FollowSettings`."""
    decode: DecodeSettings = DecodeSettings()
    """See `DecodeSettings`."""
    merge: MergeSettings = MergeSettings()
    """See `MergeSettings`."""
    status: StatusSettings = StatusSettings()
    """See `StatusSettings`."""
    certificate: CertificateSettings = CertificateSettings()
    """See `CertificateSettings`."""
    bot: BotSettings = BotSettings()
    """See `BotSettings`."""
    schedule: ScheduleSettings = ScheduleSettings()
    """See `ScheduleSettings`."""

    @model_validator(mode="after")
    def _memory_holds_a_segment(self) -> Settings:
        least = COORDINATOR_BYTES + self.drain.worker_bytes
        if self.memory_bytes < least:
            raise ValueError(
                f"memory_bytes is too small to keep to: a segment of drain.segment_bytes, "
                f"{self.drain.segment_bytes:,}, takes about {least:,}: raise the one or lower the other"
            )
        return self

    @property
    def ledger_url(self) -> str | None:
        """URL of the ledger, with its password; None for SQLite in the lake."""
        return self.ledger.get_secret_value() if self.ledger else None

    def require_clusters(self) -> None:
        """Raise SettingsError when there is no cluster at all."""
        if not self.clusters:
            raise SettingsError(
                f"no cluster is set: put servers under [clusters.ztf] in {CONFIG_FILE}, or register with "
                "Fink and have its credentials in ~/.finkclient"
            )

    def wanted(self, names: Sequence[str] = ()) -> dict[str, Sequence[str]]:
        """Return topics and patterns by cluster: those named, or else the clusters' own.

        What is named is asked of the clusters whose own topics it is among; where it is of none, of all.

        Raises
        ------
        SettingsError
            There is no cluster, or no topic is named anywhere.
        """
        self.require_clusters()
        own: dict[str, Sequence[str]] = {name: cluster.topics for name, cluster in self.clusters.items()}
        homes = {n: [c for c in own if any(fnmatchcase(n, topic) for topic in own[c])] or own for n in names}
        wanted = {c: tuple(n for n in names if c in homes[n]) if names else own[c] for c in own}
        if not any(wanted.values()):
            raise SettingsError(
                "no topics to drain: name some (patterns such as 'fink_*_ztf' work), or set topics under "
                f"[clusters.<name>] in {CONFIG_FILE}"
            )
        return wanted

    def cluster(self, name: str) -> ClusterSettings:
        """Return the cluster of this name; raise SettingsError when there is none."""
        if name not in self.clusters:
            known = ", ".join(sorted(self.clusters)) or "none yet"
            raise SettingsError(
                f"no cluster {name!r}{close_matches(name, self.clusters)}: set clusters.{name}.servers "
                f"in {CONFIG_FILE} (known: {known})"
            )
        return self.clusters[name]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each of them comes from."""

    settings: Settings
    sources: dict[str, str]
    """Source by dotted key, for every key that is not a default."""
    config: Path | None
    """The TOML file that was read."""
    credential_files: tuple[Path, ...]
    """fink-client's files that were read."""
    notes: tuple[str, ...] = ()
    """What a user may wonder about, such as a credentials file that does not count."""


def load_settings(
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read settings from all layers.

    Parameters
    ----------
    config
        TOML file; default: the variable FINKBRIDGE_CONFIG, else ``finkbridge.toml`` where it exists.
    environ
        The environment; the only place where it is read.
    overrides
        Options of a command by dotted key (``drain.max_messages``); None values count as not given.

    Raises
    ------
    SettingsError
        A file that cannot be read, an unknown key, or a value that is not valid.
    """
    home = environ.get("HOME") or environ.get("USERPROFILE")
    file = config_file(config, environ)
    layers = [
        read_toml(file) if file else Layer(),
        read_environment(environ, ignore={CONFIG_VARIABLE}),
        read_options(overrides or {}),
    ]
    said = merge(layers)
    found = read_credentials(_validate(said.only("credentials"), home).credentials)
    filling, notes = found.filling(said)
    full = merge([filling, said])
    return Loaded(_validate(full, home), full.sources, file, tuple(found.files.values()), notes)


def credentials_folder(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of fink-client's credential files, whatever state they and other settings are in."""
    home = environ.get("HOME") or environ.get("USERPROFILE")
    file = config_file(config, environ)
    layers = [read_toml(file) if file else Layer(), read_environment(environ, ignore={CONFIG_VARIABLE})]
    return _validate(merge(layers).only("credentials"), home).credentials


def secret_values(settings: Settings) -> tuple[str, ...]:
    """Return every secret text in the settings, longest first, so that they can be masked in any output."""
    found = [settings.ledger] if settings.ledger else []
    found += settings.bot.secrets
    for cluster in settings.clusters.values():
        found += [secret for secret in (cluster.password, cluster.schema_registry_auth) if secret]
        found += [value for value in cluster.kafka.values() if isinstance(value, SecretStr)]
    texts = {secret.get_secret_value() for secret in found}
    for text in tuple(texts):
        texts |= passwords_in(text)
    texts |= {text.partition(":")[2] for text in _registry_passwords(settings)}
    for secret in settings.bot.secrets:
        texts |= spellings(secret.get_secret_value())
    return tuple(sorted(texts - {""}, key=len, reverse=True))


def _registry_passwords(settings: Settings) -> list[str]:
    found = (cluster.schema_registry_auth for cluster in settings.clusters.values())
    return [secret.get_secret_value() for secret in found if secret is not None]


def _validate(layer: Layer, home: str | None) -> Settings:
    try:
        return Settings.model_validate(layer.values, context={"home": home})
    except ValidationError as error:
        raise SettingsError(explain(error, Settings, layer.sources)) from None
