"""Alerts of any other schema: they land too, dated by Kafka, with nothing known of their science."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from finkbridge.surveys.base import Description
from finkbridge.surveys.columns import COMMON_SCHEMA
from finkbridge.values import UNDATED_NIGHT

NAMES: dict[str, tuple[str, ...]] = {
    "object": ("objectId", "diaSource.diaObjectId"),
    "alert": ("candid", "diaSourceId", "diaSource.diaSourceId", "alertId"),
    "class": ("fink_class", "finkclass"),
    "trigger": ("triggerId",),
    "observatory": ("observatory",),
}
"""Fields by which such alerts are known, of which ``deliveries`` says nothing; dots part nested names."""
CUTOUTS = ()
OWN_COLUMNS = ()


def describe(alerts: pa.Table) -> Description:
    """Return nulls for each alert, and no night: the caller dates it by its Kafka timestamp."""
    rows = alerts.num_rows
    columns = [pa.nulls(rows, field.type) for field in COMMON_SCHEMA]
    night = np.full(rows, UNDATED_NIGHT, np.int32)
    return Description(pa.Table.from_arrays(columns, schema=COMMON_SCHEMA), night, {})
