"""Some rows of a table, without copying them where they are together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MOST_RUNS = 32
"""Of rows that are together: to join more of them takes longer than to take row by row (ZTF's packets)."""


def rows(table: pa.Table, chosen: npt.NDArray[np.bool_]) -> pa.Table:
    """Return the chosen rows; in one chunk if they were apart: Parquet's writer is slow with small ones."""
    runs = _runs(chosen)
    if len(runs) == 1:
        return table.slice(*runs[0])
    if len(runs) > MOST_RUNS:
        return table.take(pa.array(np.flatnonzero(chosen)))
    return pa.concat_tables([table.slice(0, 0), *(table.slice(*run) for run in runs)]).combine_chunks()


def _runs(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return start and length of each run of chosen rows: alerts come in time order, so runs are few."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False]))))
    return [(int(start), int(end - start)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
