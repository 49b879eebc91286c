"""Columns that are of different kinds in different schemas: readers can unite them only as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa


def clashing_columns(schemas: Iterable[pa.Schema], same_name: Callable[[str], str]) -> set[str]:
    """Return the columns, by what `same_name` makes of their names, that are of different kinds.

    Parameters
    ----------
    schemas
        Of the files that are read as one table.
    same_name
        Gives equal texts for names of one column: `str.lower` where case does not tell columns apart.
    """
    kinds: dict[str, set[str]] = {}
    for schema in schemas:
        for field in schema:
            for path, kind in _kinds(field.type, same_name(field.name), same_name):
                kinds.setdefault(path, set()).add(kind)
    return {path.partition("\0")[0] for path, found in kinds.items() if len(found) > 1}


def _kinds(kind: pa.DataType, path: str, same_name: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield the kind of a column, and of all that is nested in it: structs are united child by child."""
    if pa.types.is_struct(kind):
        yield path, "struct"
        for child in kind:
            yield from _kinds(child.type, f"{path}\0{same_name(child.name)}", same_name)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield path, "list"
        yield from _kinds(kind.value_type, f"{path}\0[]", same_name)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        yield path, "number"
    else:
        yield path, str(kind)
