"""Writes alerts that a script has in hand, filtered, changed or made by itself, as Avro container files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro

from finkbridge.avro.container import SYNC_BYTES
from finkbridge.avro.schemas import parse_schema, read_schema
from finkbridge.consumer.names import file_name, identity, is_one_of_several, name_of, safe
from finkbridge.disk import name_file, replace_file, sync_folder
from finkbridge.errors import AlertExistsError, NameTakenError, SaveError, SchemaError

Schema = str | Path | Mapping[str, Any]
"""A schema file (.avsc), or what it says, parsed by fastavro or not."""
FASTAVROS_OWN = ("__fastavro_parsed__", "__named_schemas__")
"""What fastavro adds to a schema that it has parsed; it is no JSON."""


def write_alert(
    alert: Mapping[str, Any],
    schema: Schema,
    path: str | Path = ".",
    id1: str | None = None,
    id2: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an alert as a file of its own; when this returns, it is on disk.

    Parameters
    ----------
    alert
        All fields of the schema, as `AlertReader` and `AlertConsumer` give them.
    schema
        Avro schema of the alert: a file, or its content.
    path
        Folder of the file, made where it is not there, which fink-client does not do.
    id1, id2
        Fields that name the file, ``<id1>_<id2>.avro``; none: it is named as `AlertConsumer.poll_and_write`
        does, ``<objectId>_<candid>.avro`` for ZTF.
    overwrite
        Whether a file that is there may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SchemaError
        The alert is not of the schema, or that is none.
    SettingsError
        The schema's file cannot be read, or is none.
    SaveError
        The disk refuses, or nothing names the file.
    AlertExistsError
        A file is there, and may not be replaced. It is a `FileExistsError` too.
    """
    data = _container([alert], schema)
    return _save(Path(path), _name(alert, id1, id2), data, overwrite=overwrite)


def write_alerts(
    alerts: Iterable[Mapping[str, Any]],
    schema: Schema,
    root_path: str | Path = ".",
    filename: str = "alerts.avro",
    overwrite: bool = False,
) -> Path:
    """Write alerts of one schema as one file; see `write_alert`.

    Parameters
    ----------
    alerts
        As many as fit in memory.
    schema
        Avro schema of all of them: a file, or its content.
    root_path
        Folder of the file, made where it is not there.
    filename
        Name of the file in it.
    overwrite
        Whether a file that is there may be replaced.
    """
    if filename in ("", ".", "..") or "\0" in filename or Path(filename).name != filename:
        raise SaveError(f"{filename!r} is no file name: name the folder as root_path")
    return _save(Path(root_path), filename, _container(list(alerts), schema), overwrite=overwrite)


def _save(folder: Path, name: str, data: bytes, *, overwrite: bool) -> Path:
    """Write a file aside, and give it its name when it is on disk."""
    final = folder / name
    try:
        if final.exists() and not overwrite:
            raise _there(final)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".finkbridge-{uuid4().hex}"
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _name_it(aside, final, overwrite=overwrite)
        finally:
            aside.unlink(missing_ok=True)
    except NameTakenError:
        raise _there(final) from None
    except AlertExistsError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(f"{final} cannot be written: {reason}: make room or give access") from None
    return final


def _name_it(aside: Path, final: Path, *, overwrite: bool) -> None:
    if overwrite:
        replace_file(aside, final)
    else:
        name_file(aside, final)
        sync_folder(final.parent)


def _there(final: Path) -> AlertExistsError:
    return AlertExistsError(f"{final} is there already: name another folder, or say overwrite=True")


def _name(alert: Mapping[str, Any], id1: str | None, id2: str | None) -> str:
    fields = [field for field in (id1, id2) if field]
    if missing := [field for field in fields if alert.get(field) is None]:
        raise SaveError(f"the alert has no {missing[0]}, which is to name its file")
    if fields:
        return name_of(safe(str(alert[field])) for field in fields)
    if not identity(alert) or is_one_of_several(alert):
        raise SaveError("nothing in the alert names its file: say id1, and id2 where it needs two fields")
    return file_name(alert, "")


def _container(alerts: Sequence[Mapping[str, Any]], schema: Schema) -> bytes:
    """Return the bytes of a container file: the same for the same alerts."""
    written = parse_schema(_text(schema))
    stream = io.BytesIO()
    marker = sha256(written.text).digest()[:SYNC_BYTES]
    try:
        fastavro.writer(stream, written.parsed, alerts, sync_marker=marker)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise SchemaError(f"an alert is not of the schema: {str(error) or type(error).__name__}") from None
    return stream.getvalue()


def _text(schema: Schema) -> bytes:
    if isinstance(schema, str | Path):
        return read_schema(Path(schema))
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{schema!r} is no schema: give its file, or what that says")
    plain = {name: value for name, value in schema.items() if name not in FASTAVROS_OWN}
    return json.dumps(plain).encode()
