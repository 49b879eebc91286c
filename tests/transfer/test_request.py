"""What can be asked of a transfer, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finkbridge.errors import SettingsError
from finkbridge.settings import Settings
from finkbridge.transfer.request import Request

SETTINGS = Settings.model_validate({"clusters": {"ztf": {"servers": "h:1"}}})
OUT = Path("out")


@pytest.mark.parametrize(
    ("more", "said", "unsaid"),
    [
        ({"outdir": OUT, "format": "avro"}, "not avro: leave -outformat out", "-outdir"),
        ({"outdir": None, "format": "avro"}, "leave -outformat, -partitionby out", "-outdir"),
    ],
)
def test_an_ai_topic_says_which_option_is_wrong(more: dict[str, Any], said: str, unsaid: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        Request("ztf", "fink_ai_2026_1", **more).check(SETTINGS)
    assert unsaid not in str(error.value)


@pytest.mark.parametrize(
    ("topic", "more"),
    [
        ("fink_ai_2026_1", {}),
        ("fink_ai_2026_1", {"partition": "time"}),
        ("fink_ai_2026_1", {"outdir": None}),
        ("fink_ai_feed_2026_1", {"format": "avro"}),
        ("ftransfer_ztf_2026_1", {"format": "avro"}),
    ],
)
def test_what_can_be_had(topic: str, more: dict[str, Any]) -> None:
    Request("ztf", topic, **({"outdir": OUT} | more)).check(SETTINGS)
