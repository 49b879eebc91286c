"""All checks together: what is wrong with one is a finding, and no failure of the doctor."""

from __future__ import annotations

from pathlib import Path

from finkbridge.doctor.examine import examine
from finkbridge.settings import load_settings


def test_what_is_no_schema_is_a_finding(tmp_path: Path) -> None:
    schema = tmp_path / "odd.avsc"
    schema.write_text("no JSON")
    environ = {
        "HOME": str(tmp_path),
        "FINKBRIDGE_LAKE": str(tmp_path / "lake"),
        "FINKBRIDGE_CLUSTERS__ZTF__SERVERS": "127.0.0.1:1",
        "FINKBRIDGE_DECODE__SCHEMA_FILE": str(schema),
    }
    found = list(examine(load_settings(None, environ)))
    (bad,) = [f for f in found if f.subject == "decode.schema_file"]
    assert (bad.state, bad.todo) == ("bad", "correct it, or leave it out")
    assert bad.said.startswith(f"the schema file {schema} is no Avro schema: the schema is no JSON")
