"""Writer schemas of old topics, whose keys only name them: ``<broker version>_<science version>``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from finkbridge.errors import SettingsError

VERSION_KEY = re.compile(rb"[0-9A-Za-z.-]{1,40}_[0-9A-Za-z.-]{1,40}")
REPLAYED = "_replayed"
"""Ends the name of a schema of alerts that were sent again, from the archive, by a version of the broker."""
SUFFIXES = (".avsc", ".json")


def is_version_key(key: bytes | None) -> bool:
    """Whether a message's key can be the name of a schema."""
    return key is not None and VERSION_KEY.fullmatch(key) is not None


class SchemaFolder:
    """A folder of schema files, such as fink-client's ``schemas``.

    A file is named by its key, alone (``2.5_3.5.3.avsc``) or behind anything and ``_``
    (``distribution_schema_fink_ztf_2.5_3.5.3.avsc``).

    Parameters
    ----------
    folder
        Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def texts(self, key: bytes, topic: str) -> list[bytes]:
        """Return the schemas that a key may name: the one of its name, then that of replayed alerts.

        Parameters
        ----------
        key
            A message's key; anything that is no version names none.
        topic
            Of several files that fit, the one with its survey in the name comes first.

        Raises
        ------
        SettingsError
            The folder cannot be read.
        """
        if not is_version_key(key):
            return []
        try:
            names = sorted(path.name for path in self._folder.iterdir())
            wanted = (_best(names, key.decode() + end, topic) for end in ("", REPLAYED))
            return [(self._folder / name).read_bytes() for name in wanted if name is not None]
        except OSError as error:
            raise SettingsError(
                f"the schema folder {self._folder} cannot be read: {error.strerror}: correct "
                "decode.schema_folder"
            ) from None


def _best(names: list[str], stem: str, topic: str) -> str | None:
    fitting = list(_fitting(names, stem))
    surveys = [survey for survey in ("ztf", "lsst", "elasticc") if survey in topic]
    return min(fitting, key=lambda name: not any(survey in name for survey in surveys), default=None)


def _fitting(names: list[str], stem: str) -> Iterator[str]:
    for suffix in SUFFIXES:
        yield from (name for name in names if name == stem + suffix)
        yield from (name for name in names if name.endswith(f"_{stem}{suffix}"))
