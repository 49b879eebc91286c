"""Saves messages of the quarantine as files: value and key as they are, all else as JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from finkbridge import layout
from finkbridge.errors import SettingsError
from finkbridge.ledger.quarantined import Entry
from finkbridge.values import Rejected


def export(entry: Entry, rejected: Rejected, folder: Path) -> list[Path]:
    """Write one message to a folder, over no file that is there; return the files.

    ``.value`` and ``.key`` are its bytes, where they are not null; ``.json`` has the rest, headers in base64.

    Raises
    ------
    SettingsError
        A file of one of the names is there.
    """
    message, source = rejected.message, entry.source
    stem = layout.message_stem(source, entry.partition, entry.offset)
    contents = {".value": message.value, ".key": message.key, ".json": _rest(entry, rejected)}
    given = {folder / f"{stem}{suffix}": data for suffix, data in contents.items() if data is not None}
    folder.mkdir(parents=True, exist_ok=True)
    for path in given:
        if path.exists() or path.is_symlink():
            raise SettingsError(f"{path} is there already: export to another folder with --to")
    for path, data in given.items():
        with path.open("xb") as file:
            try:
                file.write(data)
                file.flush()
            except OSError:
                path.unlink()  # part of a message under its name would be taken for the whole
                raise
    return list(given)


def _rest(entry: Entry, rejected: Rejected) -> bytes:
    source, message = entry.source, rejected.message
    rest: dict[str, Any] = {
        "cluster": source.cluster,
        "topic": source.topic,
        "generation": source.generation,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp_ms": message.timestamp_ms,
        "timestamp_type": message.timestamp_type,
        "value_bytes": None if message.value is None else len(message.value),
        "key_bytes": None if message.key is None else len(message.key),
        "headers": [{"name": name, "base64": _text(value)} for name, value in message.headers],
        "reason": rejected.reason,
        "byte_position": rejected.byte_position,
        "reference": rejected.reference,
        "state": entry.state,
    }
    return json.dumps(rest, indent=2).encode() + b"\n"


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
