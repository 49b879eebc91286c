"""Which topics of a cluster names and shell patterns stand for. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

SCHEMA = "_schema"
"""Ends the name of the topic that only carries another topic's writer schema."""
COUNTING = re.compile(r"fink_(ztf|lsst)_\d{8}")
"""Fink's topics that count a night's alerts: they hold identifiers, and no alert."""

NO_PATTERN = "counting topics (fink_ztf_YYYYMMDD) and TOPIC_schema only by their full names"
"""What to say where a pattern stands for no topic."""

_LEGAL = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_PATTERN_SIGNS = re.compile(r"[*?\[\]!]")


def may_be_topic(name: str) -> bool:
    """Whether Kafka can have a topic of this name, or one that matches it where it is a pattern."""
    return bool(_LEGAL.fullmatch(_PATTERN_SIGNS.sub("x", name) if is_pattern(name) else name))


def is_pattern(name: str) -> bool:
    """Whether a name is a shell pattern, which may match many topics or none."""
    return any(sign in name for sign in "*?[")


def select(names: Collection[str], there: Collection[str]) -> list[str]:
    """Return the topics that are named, or that hold alerts and match a pattern, in the order of `there`.

    Parameters
    ----------
    names
        Names and patterns. No pattern stands for counting topics, nor for a topic's companion
        ``<topic>_schema``; a plain name stands for any topic.
    there
        All topics of the cluster.
    """
    plain = {name for name in names if not is_pattern(name)}
    patterns = [name for name in names if is_pattern(name)]
    return [
        topic
        for topic in there
        if topic in plain
        or (_holds_alerts(topic, there) and any(fnmatchcase(topic, pattern) for pattern in patterns))
    ]


def _holds_alerts(topic: str, there: Iterable[str]) -> bool:
    is_companion = topic.endswith(SCHEMA) and topic.removesuffix(SCHEMA) in there
    return not is_companion and not COUNTING.fullmatch(topic)
