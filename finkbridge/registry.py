"""A schema registry, as Rubin's own stream uses it: the writer schema of each id, over HTTP."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finkbridge.access import Access, Secret
from finkbridge.avro.resolve import Lookups
from finkbridge.avro.versions import SchemaFolder
from finkbridge.errors import RegistryError

ANSWER_S = 10.0
MOST_BYTES = 16 << 20
"""Of an answer: no honest schema is a hundredth of it."""
NOT_FOUND = 404
REFUSED = frozenset({401, 403})


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
        """
        request = urllib.request.Request(f"{self._url}/schemas/ids/{number}")  # noqa: S310 - settings allow http(s) only
        request.add_header("Accept", "application/vnd.schemaregistry.v1+json, application/json")
        if self._auth is not None:
            told = base64.b64encode(self._auth.get_secret_value().encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {told}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 - as above
                return self._text(answer.read(MOST_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == NOT_FOUND:
                    return None
                why = "check clusters.<name>.schema_registry_auth" if error.code in REFUSED else "try again"
                raise self._error(f"answers {error.code}: {why}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise self._error(f"does not answer ({reason}): check its URL and the network") from None

    def _text(self, body: bytes) -> bytes | None:
        try:
            told: Any = json.loads(body[:MOST_BYTES])
            schema, kind = told["schema"], told.get("schemaType", "AVRO")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._error("answers no schema: check its URL") from None
        return schema.encode() if kind == "AVRO" and isinstance(schema, str) else None

    def _error(self, what: str) -> RegistryError:
        return RegistryError(f"the schema registry {self._url} {what}")


def lookups_of(cluster: Access | None, schema_folder: Path | None) -> Lookups:
    """Return where the schemas are that a cluster's messages only name; None: of no cluster that is known."""
    url = None if cluster is None else cluster.schema_registry
    registry = None if cluster is None or url is None else Registry(url, cluster.schema_registry_auth).schema
    return Lookups(None if schema_folder is None else SchemaFolder(schema_folder), registry)


def lookups_of_all(clusters: Iterable[Access], schema_folder: Path | None) -> Lookups:
    """Return where schemas are of messages of any cluster: with several registries, of none of them."""
    having = [cluster for cluster in clusters if cluster.schema_registry is not None]
    return lookups_of(having[0] if len(having) == 1 else None, schema_folder)
