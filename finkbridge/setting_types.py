"""The types of settings: what a user may write, and what it becomes.

A validator never repeats the value: it may be a secret. Who reports the error shows it where that is safe.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator, PositiveInt, SecretStr, ValidationInfo

_BYTE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_CRON = (
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, ""),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 7, "sun mon tue wed thu fri sat"),
)
"""Least and greatest number, and the numbers' names, of a cron expression's fields."""
_CRON_NAMES = {"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"}
_SECRET_KAFKA_KEY = re.compile(r"password|secret|token|jaas|oauthbearer\.config|key\.pem")


def parse_bytes(value: object) -> object:
    """Return a number of bytes from a text such as ``64 MB`` or ``1GiB``; leave anything else as it is."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in _BYTE_UNITS:
        raise ValueError("not a size: write bytes, or a number with a unit such as 64MB or 1GiB")
    return int(float(match[1]) * _BYTE_UNITS[match[2].lower()])


def parse_start(value: object) -> datetime | Literal["earliest", "latest"]:
    """Return where a topic starts; a time without a zone is UTC."""
    if value == "earliest":
        return "earliest"
    if value == "latest":
        return "latest"
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("write earliest, latest, or an ISO time such as 2026-01-31T18:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _refuse_empty(value: object) -> object:
    if value == "":
        raise ValueError("an empty path: name a folder or file, or write . for the working folder")
    return value


def _expand_home(path: Path, info: ValidationInfo) -> Path:
    home = (info.context or {}).get("home")
    return Path(home, *path.parts[1:]) if home and path.parts[:1] == ("~",) else path


def _split_commas(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _join_commas(value: object) -> object:
    return ",".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _check_servers(value: str) -> str:
    if not all(re.fullmatch(r"\s*\S+:\d+\s*", server) for server in value.split(",")):
        raise ValueError("write host:port, several with commas between")
    if any(not 0 < int(server.rpartition(":")[2]) < 1 << 16 for server in value.split(",")):
        raise ValueError("a port is a number from 1 to 65535")
    return value


def _check_name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a character in it is no sign that can be printed: remove it")
    return value


def _check_cluster_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]+", value):
        raise ValueError("a cluster's name has only a-z, 0-9, _ and -")
    return value


def _check_ledger(value: SecretStr) -> SecretStr:
    if not re.match(r"postgresql(\+\w+)?://", value.get_secret_value()):
        raise ValueError(
            "write postgresql://user:password@host/database, or leave it out for SQLite in the lake"
        )
    if value.get_secret_value().count("@") > 1:  # what follows one would be taken for the host, and told
        raise ValueError("write each @ but the one before the host as %40")
    return value


def _check_cron(value: str) -> str:
    fields = value.split()
    if value.strip().lower() in _CRON_NAMES:
        return value.strip().lower()
    if len(fields) != len(_CRON) or not all(map(_is_cron, fields, _CRON)):
        raise ValueError(
            "write five cron fields, such as '*/5 * * * *' for every 5 minutes, or @hourly or @daily"
        )
    return value


def _is_cron(text: str, kind: tuple[int, int, str]) -> bool:
    """Whether a field is a list of numbers or names, ranges of them, or all, each perhaps in steps."""
    least, most, names = kind
    known = {name: number for number, name in enumerate(names.split(), least)}
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        ends = [known.get(end, int(end) if end.isdecimal() else -1) for end in span.split("-")]
        in_range = span == "*" or (len(ends) <= 2 and all(least <= end <= most for end in ends))
        if not in_range or ("/" in part and not (step.isdecimal() and int(step))):
            return False
    return True


def _check_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+\S*", value):
        raise ValueError("write an address that begins with https:// or http://")
    return value.rstrip("/")


def _check_registry(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@][^\s@]*", value):
        raise ValueError(
            "write an address that begins with https:// or http://, without user and password: where it "
            "wants them, set schema_registry_auth to user:password"
        )
    return value


def _kafka_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError("a librdkafka value is a text, a number, true or false")


def _hide_kafka_secrets(value: object) -> object:
    if not isinstance(value, dict):
        return value
    plain = {k: v if isinstance(v, SecretStr) else _kafka_text(v) for k, v in value.items()}
    return {
        k: SecretStr(v) if _SECRET_KAFKA_KEY.search(k) and isinstance(v, str) else v for k, v in plain.items()
    }


Bytes = Annotated[PositiveInt, BeforeValidator(parse_bytes)]
FilePath = Annotated[Path, BeforeValidator(_refuse_empty), AfterValidator(_expand_home)]
Start = Annotated[datetime | Literal["earliest", "latest"], PlainValidator(parse_start)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Servers = Annotated[str, BeforeValidator(_join_commas), AfterValidator(_check_servers)]
Name = Annotated[str, AfterValidator(_check_name)]
ClusterName = Annotated[str, AfterValidator(_check_cluster_name)]
LedgerUrl = Annotated[SecretStr, AfterValidator(_check_ledger)]
KafkaKeys = Annotated[dict[str, str | SecretStr], BeforeValidator(_hide_kafka_secrets)]
Url = Annotated[str, AfterValidator(_check_url)]
RegistryUrl = Annotated[str, AfterValidator(_check_registry)]
Cron = Annotated[str, AfterValidator(_check_cron)]
