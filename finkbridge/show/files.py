"""One object or alert of the lake as files: Avro container files, and FITS files of its cutouts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from finkbridge.avro.container import SYNC_BYTES, block_prefix, encode_header
from finkbridge.errors import SettingsError
from finkbridge.lookup import Alert, Lookup, Raw
from finkbridge.text import file_stem
from finkbridge.viewer.cutouts import fits_bytes, stamps
from finkbridge.viewer.fits import FitsError


def container(raws: Sequence[Raw]) -> bytes:
    """Return alerts as one standard Avro container file: their bytes and their schema as they were received.

    Raises
    ------
    SettingsError
        They have more than one writer schema: a file has one.
    """
    schemas = {raw.schema for raw in raws}
    if len(schemas) != 1:
        raise SettingsError(
            f"the alerts have {len(schemas)} writer schemas: --avro FOLDER writes a file for each"
        )
    metadata = {"avro.codec": b"null", "avro.schema": raws[0].schema.text}
    sync = hashlib.sha256(encode_header(metadata, b"")).digest()[:SYNC_BYTES]
    blocks = [block_prefix(len(raw.datum)) + raw.datum + sync for raw in raws]
    return b"".join([encode_header(metadata, sync), *blocks])


def write_alerts(lookup: Lookup, alerts: Sequence[Alert], folder: Path) -> list[Path]:
    """Write each alert to ``<object>_<alert>.avro`` in a folder, over no file; return the files."""
    return [write_new(folder / f"{stem(alert)}.avro", container([lookup.raw(alert)])) for alert in alerts]


def write_cutouts(lookup: Lookup, alerts: Sequence[Alert], folder: Path) -> tuple[list[Path], list[str]]:
    """Write each cutout to ``<object>_<alert>_<name>.fits`` in a folder, over no file that is there.

    They are the sender's bytes, unzipped.

    Returns
    -------
    files, problems
        The files, and what is no FITS file, a line each.
    """
    files, problems = [], []
    for alert in alerts:
        for stamp in stamps(lookup.record(alert), alert.survey):
            try:
                data = fits_bytes(stamp.data)
            except FitsError as error:
                problems.append(f"{stamp.name} of {alert.label}: {error}")
                continue
            files.append(write_new(folder / f"{stem(alert)}_{stamp.name.lower()}.fits", data))
    return files, problems


def write_new(path: Path, data: bytes) -> Path:
    """Write a file; its folder is made.

    Raises
    ------
    SettingsError
        It is there already, with other content, or there can be no such folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise SettingsError(f"{path.parent} is no folder: name another place") from None
    except FileNotFoundError:  # in /proc, say, where nobody makes folders
        raise SettingsError(f"{path.parent} cannot be made: name another place") from None
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        if not path.is_file() or path.read_bytes() != data:
            raise SettingsError(f"{path} is there already, and is another: name another place") from None
    except FileNotFoundError:  # in /proc, say: the folder is there, and takes no files
        raise SettingsError(f"{path} cannot be a file: name another place") from None
    return path


def stem(alert: Alert) -> str:
    """Return the name of an alert's files: safe, whatever its object is called."""
    named = alert.object_id, str(alert.row.get("trigger", "")), alert.label
    return file_stem(*filter(None, named))


def as_json(alert: Alert, record: Any) -> dict[str, Any]:
    """Return an alert as what JSON can hold: its columns, its deliveries, and all of it as it was sent.

    NaN and infinities are null. Cutouts are left out: see `write_cutouts`; other bytes are hex.
    """
    packet = {name: value for name, value in record.items() if not name.startswith("cutout")}
    return {**_plain(alert.row), "deliveries": _plain(list(alert.deliveries)), "packet": _plain(packet)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
