"""Writer schemas: parsed once, known by their fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro

from finkbridge.avro.rewrite import load_json, simplify, to_json
from finkbridge.errors import SchemaError, SettingsError


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """The Avro schema that a message was written with."""

    text: bytes
    """Exactly as received."""
    fingerprint: str
    """First 32 hex digits of the text's SHA-256: any byte that differs makes another schema."""
    parsed: Any = field(compare=False, repr=False)
    """For fastavro, with all that the text says."""
    simple: Any = field(compare=False, repr=False)
    """Rewritten: see `finkbridge.avro.rewrite`."""
    simplified: bytes = field(compare=False, repr=False)
    """`simple` as the JSON that arrow-avro reads."""

    def __repr__(self) -> str:
        return f"WriterSchema({self.fingerprint}, {len(self.text)} bytes)"


def read_schema(file: Path) -> bytes:
    """Return the text of a schema file that a user names for every message.

    Raises
    ------
    SettingsError
        The file cannot be read, or no message can have such a schema.
    """
    try:
        text = file.read_bytes()
        parsed = parse_schema(text).parsed
    except OSError as error:
        raise SettingsError(f"the schema file {file} cannot be read: {error.strerror}") from None
    except SchemaError as error:
        raise SettingsError(f"the schema file {file} is no Avro schema: {error}") from None
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise SettingsError(f"the schema file {file} is no schema of a record, and every message is one")
    return text


def parse_schema(text: bytes) -> WriterSchema:
    """Parse the JSON text of a writer schema, which may be hostile.

    Raises
    ------
    SchemaError
        When it is no Avro schema, too large or too deep.
    """
    document = load_json(text)
    try:
        simple = simplify(document)
        if isinstance(document, dict):
            document.pop("__fastavro_parsed", None)  # fastavro would take a text with this mark at its word
        parsed = fastavro.parse_schema(document)
    except RecursionError as error:
        raise SchemaError("the schema is nested too deep: not parsed") from error
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise SchemaError(f"fastavro refuses the schema: {str(error)[:200]}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SchemaError(f"fastavro refuses the schema: {error!r:.200}") from error
    return WriterSchema(text, fingerprint_of(text), parsed, simple, to_json(simple))


def fingerprint_of(text: bytes) -> str:
    """Return what tells a schema's text from any other."""
    return hashlib.sha256(text).hexdigest()[:32]
