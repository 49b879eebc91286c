"""Messages are opened by the schema that is there for their topic now."""

from __future__ import annotations

from finkbridge.avro.resolve import SchemaResolver
from finkbridge.broker.assignment import Received
from finkbridge.consumer.opening import Opener
from finkbridge.values import Message
from tests.avro.samples import encode, record_of, schema_of

FIRST = schema_of(record_of(ra="double", dec="double"))
SECOND = schema_of(record_of(dec="double", ra="double"))


def test_a_topic_whose_offsets_begin_again_may_have_another_schema() -> None:
    """It was made anew: the same bytes have another meaning."""
    texts = [FIRST.text, SECOND.text]
    opener = Opener(SchemaResolver(topic_schema=lambda _: texts[0]), "")
    here = {"ra": 10.0, "dec": -70.0}

    def opened(offset: int, value: bytes, partition: int = 0) -> object:
        return opener.open(Received("t", Message(partition, offset, 1, 1, None, value))).alert

    assert [opened(offset, encode(FIRST, here)) for offset in (0, 1)] == [here, here]
    assert opened(0, encode(FIRST, here), partition=1) == here
    texts.pop(0)
    assert opened(0, encode(SECOND, here)) == here
