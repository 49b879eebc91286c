"""Messages that confluent_kafka refuses to send: by librdkafka itself, which comes with it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

TOPIC, PARTITION, VALUE, FLAGS, HEADERS, END = 1, 3, 4, 7, 10, 0
"""``rd_kafka_vtype_t``."""
COPY = 2


def librdkafka() -> ctypes.CDLL:
    """Load the library that is in use; FileNotFoundError where it is not a file beside the package."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    found = sorted(folder.glob("librdkafka*")) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(f"no librdkafka in {folder}")
    library = ctypes.CDLL(str(found[0]))
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_headers_new.restype = ctypes.c_void_p
    return library


def produce(servers: str, topic: str, values: list[tuple[bytes, bytes]]) -> None:
    """Send values to partition 0, each with one header of a name that may be any bytes."""
    library, said = librdkafka(), ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), said, 512)
    handle = library.rd_kafka_new(0, conf, said, ctypes.c_size_t(512))
    assert handle, said.value
    producer = ctypes.c_void_p(handle)
    for name, value in values:
        headers = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
        size = ctypes.c_ssize_t
        library.rd_kafka_header_add(headers, name, size(len(name)), b"h", size(1))
        refused = library.rd_kafka_producev(
            producer, TOPIC, ctypes.c_char_p(topic.encode()), PARTITION, ctypes.c_int32(0), FLAGS,
            ctypes.c_int(COPY), VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value)), HEADERS, headers,
            END,
        )  # fmt: skip
        assert not refused
    assert not library.rd_kafka_flush(producer, 10_000)
    library.rd_kafka_destroy(producer)
