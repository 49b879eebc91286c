"""The Avro writer schemas of Fink's alerts: names and types, no documentation text."""

from __future__ import annotations

import json

from finkbridge.simulator.schemas import lsst, ztf
from finkbridge.simulator.schemas.build import Schema

SCHEMAS: dict[str, Schema] = {"ztf": ztf.SCHEMA, "lsst": lsst.SCHEMA}


def schema_text(survey: str) -> bytes:
    """Return the writer schema of a survey's alerts as compact JSON: the key of each message.

    Parameters
    ----------
    survey
        ``ztf`` or ``lsst``.

    Raises
    ------
    KeyError
        If there is no such survey.
    """
    return json.dumps(SCHEMAS[survey], separators=(",", ":")).encode()
