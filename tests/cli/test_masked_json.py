"""``--json`` shows no secret, however JSON writes it."""

from __future__ import annotations

import json

import pytest

from finkbridge.cli.options import MASK, App
from finkbridge.cli.output import emit_json


def test_secrets_are_masked_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    app = App(secrets=('pass"wörd',))
    emit_json({"findings": [{"where": 'x pass"wörd y', "n": 1, "none": None}]}, app.mask)
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert found == {"where": f"x {MASK} y", "n": 1, "none": None}
