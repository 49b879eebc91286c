"""Alerts of any other schema: they land too, dated by Kafka, with nothing known of their science."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from finkbridge.surveys.base import Description
from finkbridge.surveys.columns import COMMON_SCHEMA
from finkbridge.values import UNDATED_NIGHT

CUTOUTS = ()
OWN_COLUMNS = ()


def describe(alerts: pa.Table) -> Description:
    """Return nulls for each alert, and no night: the caller dates it by its Kafka timestamp."""
    rows = alerts.num_rows
    columns = [pa.nulls(rows, field.type) for field in COMMON_SCHEMA]
    night = np.full(rows, UNDATED_NIGHT, np.int32)
    return Description(pa.Table.from_arrays(columns, schema=COMMON_SCHEMA), night, {})
