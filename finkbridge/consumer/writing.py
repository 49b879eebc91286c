"""Writes alerts that a script has in hand, filtered, changed or made by itself, as Avro container files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fastavro

from finkbridge.avro.schemas import parse_schema, read_schema
from finkbridge.consumer.names import SUFFIX, file_name, identity, safe
from finkbridge.consumer.saving import Saver
from finkbridge.errors import SaveError, SchemaError

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
        Folder of the file, made where it is not there.
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
    SaveError
        The disk refuses, or nothing names the file.
    AlertExistsError
        A file is there, and may not be replaced. It is a `FileExistsError` too.
    """
    data = _container([alert], schema)
    return _save(path, _name(alert, id1, id2), data, overwrite=overwrite)


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
    if Path(filename).name != filename:
        raise SaveError(f"{filename!r} is no file name: name the folder as root_path")
    return _save(root_path, filename, _container(alerts, schema), overwrite=overwrite)


def _save(folder: str | Path, name: str, data: bytes, *, overwrite: bool) -> Path:
    with Saver(Path(folder)) as saver:
        return saver.save_file(name, data, overwrite=overwrite)


def _name(alert: Mapping[str, Any], id1: str | None, id2: str | None) -> str:
    fields = [field for field in (id1, id2) if field]
    if missing := [field for field in fields if field not in alert]:
        raise SaveError(f"the alert has no field {missing[0]}, which is to name its file")
    if fields:
        return "_".join(safe(str(alert[field])) for field in fields) + SUFFIX
    if not identity(alert):
        raise SaveError("nothing in the alert names its file: say id1, and id2 where it needs two fields")
    return file_name(alert, "")


def _container(alerts: Iterable[Mapping[str, Any]], schema: Schema) -> bytes:
    """Return the bytes of a container file."""
    parsed = parse_schema(_text(schema)).parsed
    stream = io.BytesIO()
    try:
        fastavro.writer(stream, parsed, alerts)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise SchemaError(f"an alert is not of the schema: {str(error) or type(error).__name__}") from None
    return stream.getvalue()


def _text(schema: Schema) -> bytes:
    if isinstance(schema, str | Path):
        return read_schema(Path(schema))
    plain = {name: value for name, value in schema.items() if name not in FASTAVROS_OWN}
    return json.dumps(plain).encode()
