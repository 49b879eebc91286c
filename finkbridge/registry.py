"""A schema registry, as Rubin's own stream uses it: the writer schema of each id, over HTTP."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from finkbridge.access import Access, Secret
from finkbridge.avro.resolve import Lookups
from finkbridge.avro.versions import SchemaFolder
from finkbridge.errors import RegistryError, SchemaError
from finkbridge.text import storable

ANSWER_S = 10.0
MOST_BYTES = 16 << 20
"""Of an answer: no honest schema is a hundredth of it."""
SAID_CHARACTERS = 200
"""Of a server's own words, in an error."""
NOT_FOUND, INTERNAL_ERROR = 404, 500
CHECK = "check clusters.<name>.schema_registry (from a script: schema.registry.url) and the network"
REFUSED = frozenset({401, 403})
BUSY = frozenset({408, 425, 429})
OF_AN_ADDRESS = ("HTTP 404", "RESTEASY")
"""How servers of registries begin to say that they do not have an address."""
READ_BYTES = 65536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows none: the body of one would be read whole, however long, and a password is for one host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Registry:
    """A registry of Confluent's interface.

    Parameters
    ----------
    url
        Such as ``https://HOST``; http or https.
    auth
        ``user:password`` for HTTP basic authentication; None for none.
    """

    def __init__(self, url: str, auth: Secret | None = None) -> None:
        self._url = url.rstrip("/")
        self._auth = auth

    def schema(self, number: int) -> bytes | None:
        """Return the text of the Avro schema of an id; None if the registry knows none.

        Raises
        ------
        RegistryError
            It does not answer, refuses, or answers something else.
        SchemaError
            What it has is no Avro schema.
        """
        request = urllib.request.Request(f"{self._url}/schemas/ids/{number}")  # noqa: S310 - settings allow http(s) only
        request.add_header("Accept", "application/vnd.schemaregistry.v1+json, application/json")
        if self._auth is not None:
            told = base64.b64encode(self._auth.get_secret_value().encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {told}")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=ANSWER_S) as answer:
                return self._text(_read(answer))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == NOT_FOUND and _is_unknown(_read_quietly(error)):
                    return None
                raise self._error(f"answers {error.code}: {_remedy(error.code)}") from None
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            said = storable(str(reason) or type(reason).__name__, SAID_CHARACTERS)
            raise self._error(f"does not answer ({said}): {CHECK}") from None

    def _text(self, body: bytes) -> bytes:
        try:
            told: Any = json.loads(body)
            schema, kind = told["schema"], told.get("schemaType") or "AVRO"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._error(f"answers no schema: {CHECK}") from None
        if kind != "AVRO":
            raise SchemaError(f"it is {kind}, not Avro")
        if not isinstance(schema, str):
            raise self._error(f"answers no schema: {CHECK}")
        return schema.encode()

    def _error(self, what: str) -> RegistryError:
        return RegistryError(f"the schema registry {self._url} {what}")


def _remedy(status: int) -> str:
    if status in REFUSED:
        return "check clusters.<name>.schema_registry_auth"
    return "try again" if status >= INTERNAL_ERROR or status in BUSY else CHECK


def _read(answer: Any) -> bytes:
    """Return a body, up to where it is too long for any schema; raise TimeoutError where it does not end."""
    parts, size, until = [], 0, time.monotonic() + ANSWER_S
    while size <= MOST_BYTES and (part := answer.read1(READ_BYTES)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > until:
            raise TimeoutError(f"no whole answer in {ANSWER_S:.0f} s")
    return b"".join(parts)[:MOST_BYTES]


def _read_quietly(error: urllib.error.HTTPError) -> bytes:
    try:
        return _read(error.fp)
    except (OSError, ValueError, HTTPException):
        return b""


def _is_unknown(body: bytes) -> bool:
    """Whether a 404 is the registry's word about the id: any server says 404 of an address that it has not.

    Confluent's code for the id is 40403, and its server's for an address 404; Apicurio's was 404 for both.
    """
    try:
        told = json.loads(body)
        code, message = int(told["error_code"]), str(told.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    is_of_address = message.startswith(OF_AN_ADDRESS)
    return code // 100 == NOT_FOUND or (code == NOT_FOUND and not is_of_address)


def lookups_of(cluster: Access | None, schema_folder: Path | None) -> Lookups:
    """Return where the schemas are that a cluster's messages only name; None: of no cluster that is known."""
    url = None if cluster is None else cluster.schema_registry
    registry = None if cluster is None or url is None else Registry(url, cluster.schema_registry_auth).schema
    return Lookups(None if schema_folder is None else SchemaFolder(schema_folder), registry)


def lookups_of_all(clusters: Iterable[Access], schema_folder: Path | None) -> Lookups:
    """Return where schemas are of messages of any cluster: with several registries, of none of them."""
    having = [cluster for cluster in clusters if cluster.schema_registry is not None]
    return lookups_of(having[0] if len(having) == 1 else None, schema_folder)
