"""Names that SQL can tell apart: DuckDB takes two that differ only in case for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def unique_names(names: Sequence[str], reserved: Iterable[str] = ()) -> list[str]:
    """Return a name for each of some fields that no other of them has, whatever the case.

    A field keeps its own name unless it is reserved or a field before it has it: then ``_`` is appended, or
    ``_2`` and so on where that is the name of yet another. The same names always give the same result.
    """
    taken = {name.lower() for name in reserved}
    own = {name.lower() for name in names} | taken
    tries: Counter[str] = Counter()
    found = []
    for name in names:
        chosen = name
        if name.lower() in taken:
            chosen = _free(name, own, tries)
            own.add(chosen.lower())
        taken.add(chosen.lower())
        found.append(chosen)
    return found


def _free(name: str, own: set[str], tries: Counter[str]) -> str:
    """Return the first name made of another that is free; none is tried twice: there may be 100,000."""
    while True:
        tries[name.lower()] += 1
        tried = tries[name.lower()]
        chosen = f"{name}_" if tried == 1 else f"{name}_{tried}"
        if chosen.lower() not in own:
            return chosen
