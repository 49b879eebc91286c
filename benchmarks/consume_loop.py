"""The fastest that a client can be: a bare ``consume()`` loop that looks at nothing."""

from __future__ import annotations

import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition


def main(bootstrap: str, topic: str, messages: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    seen = size = 0
    while seen < messages:
        for message in consumer.consume(100, timeout=10):
            size += len(message.value())
            seen += 1
    consumer.close()
    print(json.dumps({"rows": seen, "value_bytes": size}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
