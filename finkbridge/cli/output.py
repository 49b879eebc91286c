"""What the commands print: tables, JSON, and numbers for people."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePath
from typing import Any

import click

from finkbridge.text import escaped


def table(rows: Iterable[Sequence[object]], columns: Sequence[str], *, whole: bool = False) -> None:
    """Print rows, numbers to the right: a drawn table on a terminal, aligned text elsewhere.

    Where only the text fits into the terminal's width, it is the text there, too. Where not even that does,
    cells are folded; with `whole`, each row is lines of its own instead, under its first cell, which can be
    copied from there.
    """
    listed = [list(row) for row in rows]
    texts = [[cell(value) for value in row] for row in listed]
    columns = [escaped(name) for name in columns]
    right = [_is_numeric(row[i] for row in listed) for i in range(len(columns))]
    lines = plain_lines(texts, columns, right)
    most = shutil.get_terminal_size().columns
    if whole and sys.stdout.isatty() and max(map(len, lines)) > most:
        lines = [line for row in texts for line in _block(row, columns, most)]
    elif sys.stdout.isatty() and not _fits_as_text_only(lines, len(columns), most):
        _rich_table(texts, columns, right)
        return
    for line in lines:
        click.echo(line)


def _fits_as_text_only(lines: Sequence[str], columns: int, most: int) -> bool:
    """Whether a table's lines fit into the terminal, and with the strokes between its columns would not."""
    width = max(map(len, lines))
    return width <= most < width + columns + 3


def _block(row: Sequence[str], columns: Sequence[str], most: int) -> Iterator[str]:
    """Yield the first cell, then the others that say anything with their columns' names, as many as fit."""
    yield row[0]
    line = ""
    for name, text in zip(columns[1:], row[1:], strict=True):
        if text in {"", "-"}:
            continue
        said = f"{name}: {text}"
        if line and len(line) + len(said) + 3 > most:
            yield line
            line = ""
        line = f"{line}   {said}" if line else f"  {said}"
    if line:
        yield line


def plain_lines(texts: Sequence[Sequence[str]], columns: Sequence[str], right: Sequence[bool]) -> list[str]:
    """Return a header and rows as lines whose columns are aligned by spaces."""
    lines = [list(columns), *texts]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return [
        "  ".join(_align(*part) for part in zip(line, widths, right, strict=True)).rstrip() for line in lines
    ]


def emit_json(value: object, mask: Callable[[str], str] | None = None) -> None:
    """Print one JSON document; values of this project (dataclasses, paths, times) become plain ones.

    Parameters
    ----------
    value
        What to print.
    mask
        Takes the secrets out of each text: for what quotes messages or errors.
    """
    text = json.dumps(value, indent=2, default=_plain, allow_nan=False)
    if mask is not None:
        text = json.dumps(_masked(json.loads(text), mask), indent=2)
    click.echo(text)


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {mask(key): _masked(mine, mask) for key, mine in value.items()}
    if isinstance(value, list):
        return [_masked(mine, mask) for mine in value]
    return mask(value) if isinstance(value, str) else value


def human_bytes(count: float) -> str:
    """Return bytes as text with three digits or so: ``1.07 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.5 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def human_duration(seconds: float) -> str:
    """Return a time span as text with its two largest units: ``3 d 4 h``, ``2 min 5 s``, ``0.4 s``."""
    if seconds < 0:
        return "-" + human_duration(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    parts = [(days, "d"), (h, "h"), (m, "min"), (s, "s")]
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


def cell(value: object) -> str:
    """Return a value as the text of a table's cell, which no terminal obeys.

    None is a dash, counts have their thousands apart.
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else escaped(str(value))


def safe(value: object) -> object:
    """Return a value whose text no terminal obeys: numbers and None are as they were."""
    return value if value is None or isinstance(value, int | float) else escaped(str(value))


def _is_numeric(values: Iterable[object]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)


def _align(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _rich_table(texts: Sequence[Sequence[str]], columns: Sequence[str], right: Sequence[bool]) -> None:
    # Loaded here: rich takes longer to import than most commands take to run.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(header_style="bold")
    for name, to_right in zip(columns, right, strict=True):
        drawn.add_column(name, justify="right" if to_right else "left", overflow="fold")
    for row in texts:
        # As Text, since rich reads brackets in a str as markup.
        drawn.add_row(*map(Text, row))
    Console(file=sys.stdout).print(drawn)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
