"""Tokens and addresses that nobody may see: from the environment, or from files that are their owner's."""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import SecretStr

from finkbridge.errors import SettingsError
from finkbridge.layers import variable_name
from finkbridge.settings import Loaded
from finkbridge.spellings import spellings

FILE = "file:"
LONGEST = 4096

_KEYS = ("bot.slack.token", "bot.slack.webhook", "bot.telegram.token", "bot.webhook.url", "bot.webhook.token")


def read_secret(loaded: Loaded, key: str) -> str | None:
    """Return the secret of a setting; None where it is not set.

    Raises
    ------
    SettingsError
        The file that it is in can be read by others, or cannot be read; or it is no secret at all.
    """
    _, section, name = key.split(".")
    value: SecretStr | None = getattr(getattr(loaded.settings.bot, section), name)
    if value is None:
        return None
    text = value.get_secret_value()
    if text.startswith(FILE):
        text = _read(_path(text.removeprefix(FILE)))
    elif loaded.config is not None and loaded.sources.get(key) == str(loaded.config):
        _refuse_if_open(loaded.config)
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{key} is no token or address: set {variable_name(key)} anew")
    return text


def require_secret(loaded: Loaded, key: str) -> str:
    """Return the secret of a setting; raise SettingsError where it is not set."""
    text = read_secret(loaded, key)
    if text is None:
        raise SettingsError(
            f"{key} is not set: put it into {variable_name(key)}, or file:PATH of a file of mode 600 "
            "that has it"
        )
    return text


def all_secrets(loaded: Loaded) -> list[str]:
    """Return every secret that is set, as others may spell it, to be masked wherever it might be printed."""
    found = [text for key in _KEYS if (text := read_secret(loaded, key))]
    return sorted({spelled for text in found for spelled in spellings(text)})


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _read(path: Path) -> str:
    _refuse_if_open(path)
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST).strip()
    except (OSError, ValueError):
        raise SettingsError(f"cannot read the secret in {path}: is it a text file of yours?") from None


def _refuse_if_open(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"cannot read the secret in {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{path} holds a secret, and others on this machine can get at it: run chmod 600 {path}"
        )
