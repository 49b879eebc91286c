"""What the deep comparison keeps of the writer schemas that it meets."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from finkbridge.avro.schemas import parse_schema
from finkbridge.avro.tools import KEPT_SCHEMAS, Tools
from finkbridge.verify.archives import Decoders
from tests.support.lake import encode


def decode(decoders: Decoders, number: int) -> list[dict[str, int]]:
    document = {"type": "record", "name": "r", "fields": [{"name": f"f{number}", "type": "long"}]}
    schema, datum = parse_schema(json.dumps(document).encode()), encode(document, {f"f{number}": number})
    tables = (decoders.bulk(schema, "other", [datum]).table, decoders.reference(schema, "other", [datum]))
    assert tables[0].equals(tables[1])
    rows: list[dict[str, int]] = tables[0].to_pylist()
    return rows


def test_a_few_schemas_are_kept_whatever_threads_ask() -> None:
    decoders, numbers = Decoders(), [n % (3 * KEPT_SCHEMAS) for n in range(200)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: decode(decoders, n), numbers))
    assert found == [[{f"f{n}": n}] for n in numbers]
    for tools in (decoders._bulk, decoders._reference):
        assert isinstance(tools, Tools)
        assert len(tools._made) == KEPT_SCHEMAS
