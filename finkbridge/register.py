"""Writes fink-client's own credential files, so that both clients read them.

The file of a survey is replaced in one step, can be read by its owner alone, and the one before stays beside
it, with the suffix ``.bak``. What is not said stays as it was.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from finkbridge.broker.names import is_pattern, may_be_topic
from finkbridge.credentials import load_yaml, topics_in
from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings

DEFAULT_FOLDER = "~/.finkclient"
BACKUP = ".bak"
DEFAULT_TIMEOUT_S = 10
GROUP_KEYS = ("groupid", "group_id")
"""fink-client 12 asks for the first one, all before and its own transfer for the second."""
OPTIONS = {
    "servers": "servers",
    "group_id": "group_id",
    "username": "username",
    "poll_timeout_s": "maxtimeout",
}
"""Keys of a file by our settings: their options have the same names."""
NEEDED = ("username", "group_id", "servers")
"""What no file can be without."""

LOGGER = logging.getLogger(__name__)

SURVEYS = ("ztf", "lsst")
"""Whose clusters fink-client knows."""

Content = dict[str, Any]


def credentials_file(folder: Path, survey: str) -> Path:
    """Return the file of a survey: its own."""
    if not survey.isidentifier():
        raise SettingsError(f"{survey!r} is no survey: say ztf or lsst")
    return folder / f"{survey}_credentials.yml"


def load_credentials(survey: str = "ztf", tmp: bool = False, folder: Path | None = None) -> Content:
    """Return what the credentials file of a survey says, as fink-client's function of the same name does.

    Parameters
    ----------
    survey
        ``ztf`` or ``lsst``.
    tmp
        Look in the system's temporary folder, as fink-client does for tests.
    folder
        Where the files are; None: ``~/.finkclient``.

    Returns
    -------
    dict
        With each of fink-client's keys, in its old spelling and in its new one: ``username``, ``password``
        (None where there is none), ``group_id`` and ``groupid``, ``servers``, ``mytopics`` (a list) and
        ``topics`` (a dict), ``maxtimeout`` (s), ``survey``.

    Raises
    ------
    SettingsError
        There is no such file, or it is damaged; no message repeats what it says.
    """
    content = read_content(_folder(folder, tmp=tmp), survey)
    if not content:
        raise SettingsError(f"no credentials for {survey}: {_remedy(survey)}")
    return content


def _remedy(survey: str) -> str:
    if survey in SURVEYS:
        return f"run `finkbridge register -survey {survey}` with what Fink sent you"
    return f"of a cluster that is not Fink's, name the topics in finkbridge.toml: clusters.{survey}.topics"


def read_content(folder: Path, survey: str) -> Content:
    """Return what the file of a survey says, complete; empty where there is none."""
    own = credentials_file(folder, survey)
    old = folder / "credentials.yml"
    file = own if own.is_file() or survey != "ztf" else old
    return complete(dict(load_yaml(file)), survey, file) if file.is_file() else {}


def known_content(folder: Path, survey: str) -> Content:
    """Return what the file of a survey says, complete; empty where there is none, or it is damaged."""
    with suppress(SettingsError):
        return read_content(folder, survey)
    return {}


def complete(content: Content, survey: str, file: Path | str = "the credentials") -> Content:
    """Return the content with each of fink-client's keys, whichever spelling it has."""
    topics = topics_in(content, file)
    settings = content.get("topics") if isinstance(content.get("topics"), dict) else {}
    group = next((content[key] for key in GROUP_KEYS if content.get(key)), None)
    return content | {
        "survey": survey,
        "username": content.get("username"),
        "password": content.get("password") or None,
        "servers": content.get("servers"),
        **dict.fromkeys(GROUP_KEYS, group),
        "mytopics": topics,
        "topics": {name: (settings or {}).get(name) or {} for name in topics},
        "maxtimeout": content.get("maxtimeout") or DEFAULT_TIMEOUT_S,
    }


def register(folder: Path, survey: str, said: Mapping[str, Any]) -> Path:
    """Write a survey's credentials file; return its path.

    A damaged file is written anew where all is said that is needed, and stays beside it as the one before.

    Parameters
    ----------
    folder
        Of the files; made where it is not there, for its owner alone.
    survey
        ``ztf`` or ``lsst``.
    said
        New values by key: ``username``, ``password``, ``group_id``, ``servers``, ``mytopics``,
        ``maxtimeout`` (s). What is None stays as it was; an empty password takes the old one away.

    Raises
    ------
    SettingsError
        Something is missing, also in an old file that is damaged; a value is none that any command would
        take; or the folder cannot be written.
    """
    given = {key: value for key, value in said.items() if value is not None}
    before = _before(folder, survey, given)
    if "group_id" in given:
        given |= dict.fromkeys(GROUP_KEYS, given["group_id"])
    if "mytopics" in given:
        given["topics"] = {n: before.get("topics", {}).get(n, {}) for n in given["mytopics"]}
    content = before | given
    missing = [key for key in NEEDED if not content.get(key)]
    if missing:
        raise SettingsError(f"{survey}: no {' and no '.join(missing)}: add -{' and -'.join(missing)}")
    check(content, before)
    file = credentials_file(folder, survey)
    write_private(file, yaml.safe_dump(complete(content, survey), sort_keys=False, allow_unicode=True))
    return file


def check(said: Mapping[str, Any], before: Content) -> None:
    """Refuse what all commands would refuse: the file that is there may be one that works.

    Parameters
    ----------
    said
        Values by key, as for `register`; what is None or left out is no fault.
    before
        What the file says, whose topics are not looked at again.

    Raises
    ------
    SettingsError
        A value is none that any command would take.
    """
    values = {setting: said.get(key) for setting, key in OPTIONS.items()}
    try:
        ClusterSettings.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        _refuse_first(
            [e for e in error.errors(include_url=False, include_input=False) if e["type"] != "missing"]
        )
    known = before.get("mytopics", ())
    for topic in said.get("mytopics") or ():
        if topic not in known and not may_be_topic(topic):
            raise SettingsError(
                f"{topic!r} is no name of a topic: those have letters, digits, dots, _ and -: nothing is "
                "written"
            )


def _refuse_first(errors: Sequence[ErrorDetails]) -> None:
    for error in errors[:1]:
        is_empty = error["type"] in ("too_short", "string_too_short")
        reason = "it is empty" if is_empty else error["msg"].removeprefix("Value error, ")
        raise SettingsError(f"-{OPTIONS[str(error['loc'][0])]}: {reason}: nothing is written") from None


def add_topics(folder: Path, survey: str, topics: Sequence[str]) -> list[str]:
    """Add topics to those that are mine; return the ones that were not yet."""
    mine = load_credentials(survey, folder=folder)["mytopics"]
    new = [topic for topic in dict.fromkeys(topics) if topic not in mine]
    if new:
        register(folder, survey, {"mytopics": [*mine, *new]})
    return new


def remove_topics(folder: Path, survey: str, patterns: Sequence[str]) -> list[str]:
    """Remove topics from those that are mine, by name or pattern; return the removed ones.

    Raises
    ------
    SettingsError
        A name is not among them, or a pattern matches none: nothing is removed.
    """
    mine = load_credentials(survey, folder=folder)["mytopics"]
    for pattern in patterns:
        if not any(fnmatchcase(topic, pattern) for topic in mine):
            what = "matches none of your topics" if is_pattern(pattern) else "is not one of your topics"
            raise SettingsError(f"{pattern} {what} ({', '.join(mine) or 'you have none'})")
    gone = [topic for topic in mine if any(fnmatchcase(topic, pattern) for pattern in patterns)]
    register(folder, survey, {"mytopics": [topic for topic in mine if topic not in gone]})
    return gone


def write_private(file: Path, text: str) -> None:
    """Replace a file that holds secrets in one step, for its owner alone; keep the one before beside it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = file.read_bytes() if file.is_file() else None
        if before is not None and before != text.encode():  # else the backup would be of nothing else
            _replace(file.with_name(file.name + BACKUP), before)
        _replace(file, text.encode())
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror}: give access to its folder") from None


def _before(folder: Path, survey: str, given: Content) -> Content:
    try:
        return read_content(folder, survey)
    except SettingsError:
        if not all(given.get(key) for key in NEEDED):
            raise
    LOGGER.warning("the credentials of %s were damaged, and are written anew: the old file is kept", survey)
    return {}


def _replace(file: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # made with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as aside:
            aside.write(data)
            aside.flush()
            os.fsync(aside.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _folder(folder: Path | None, *, tmp: bool) -> Path:
    if tmp:
        return Path(tempfile.gettempdir())
    return Path(DEFAULT_FOLDER).expanduser() if folder is None else folder
