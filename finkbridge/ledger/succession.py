"""Which life of a topic came after which, and whether it goes on with the same log."""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Connection, and_, select

from finkbridge.ledger import schema as s
from finkbridge.values import TopicGeneration


def successions(connection: Connection) -> dict[TopicGeneration, float]:
    """Return when the next life of a topic was first seen."""
    g = s.generations.c
    query = select(g.cluster, g.topic, g.generation, g.first_seen).order_by(g.cluster, g.topic, g.generation)
    lives = connection.execute(query).all()
    return {
        TopicGeneration(old.cluster, old.topic, old.generation): new.first_seen
        for old, new in pairwise(lives)  # the numbers of a rebuilt ledger have holes
        if (old.cluster, old.topic) == (new.cluster, new.topic)
    }


def followed(connection: Connection) -> dict[tuple[int, int], int]:
    """Return where the next life goes on with the log of a partition, by generation's row id and partition.

    Kafka's id of the topic is the same in both, then: the log was cut. Lives without an id, as a rebuilt
    ledger has them, count as recreated.
    """
    p, old, new = s.partitions.c, s.generations.alias("old"), s.generations.alias("new")
    names = old.c.cluster == new.c.cluster, old.c.topic == new.c.topic
    is_next = and_(*names, old.c.generation == new.c.generation - 1, old.c.topic_id == new.c.topic_id)
    query = (
        select(old.c.id, p.partition, p.first_offset)
        .select_from(s.partitions.join(new, p.generation_id == new.c.id))
        .join(old, is_next)
    )
    return {(row.id, row.partition): row.first_offset for row in connection.execute(query)}
