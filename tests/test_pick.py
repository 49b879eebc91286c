"""Some rows of a table: the chosen ones, in their order, however they lie."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from finkbridge import pick

TABLE = pa.table(
    {"n": range(200), "text": [str(n) * 3 for n in range(200)], "list": [[n] * 2 for n in range(200)]}
)


@given(st.lists(st.integers(0, 200), max_size=60))
def test_the_chosen_rows_are_given_in_their_order(edges: list[int]) -> None:
    mask = np.searchsorted(np.sort(edges), np.arange(200), side="right") % 2 == 1
    assert pick.rows(TABLE, mask).equals(TABLE.filter(pa.array(mask)))


@given(st.integers(0, 200), st.integers(0, 200))
def test_rows_that_are_together_are_not_copied(first: int, last: int) -> None:
    numbers = np.arange(200)
    mask = (numbers >= first) & (numbers < last)
    picked = pick.rows(TABLE, mask)
    assert picked.equals(TABLE.slice(first, max(0, last - first)))
    if picked.num_rows:
        assert picked["n"].chunk(0).buffers()[1].address == TABLE["n"].chunk(0).buffers()[1].address
    assert all(column.num_chunks <= 1 for column in picked.columns)
