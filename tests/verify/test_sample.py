"""How many messages fastavro decodes beside the bulk engine."""

from __future__ import annotations

import pytest

from finkbridge.cli.verify import command
from finkbridge.errors import SettingsError
from finkbridge.verify.run import Options
from finkbridge.verify.sample import Sample


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("all", {0: 0, 1: 1, 1000: 1000}),
        ("10", {0: 0, 3: 3, 1000: 10}),
        ("0", {0: 0, 1000: 0}),
        ("1%", {0: 0, 1: 1, 100: 1, 101: 2, 1000: 10}),
        ("0%", {1000: 0}),
        ("100%", {7: 7}),
        ("7%", {100: 7, 200: 14, 201: 15}),
    ],
)
def test_counts(text: str, counts: dict[int, int]) -> None:
    assert {messages: Sample.parse(text).of(messages) for messages in counts} == counts


def test_the_command_and_python_have_one_default() -> None:
    (option,) = (option for option in command.params if option.name == "sample")
    assert Sample.parse(str(option.default)) == Options().sample


@pytest.mark.parametrize(
    "text", ["", "%", "some", "-1", "1.5", "101%", "1%%", "9" * 5_000, "1\n", "\u0661", "1e3"]
)
def test_what_is_no_sample(text: str) -> None:
    with pytest.raises(SettingsError, match="write a number, a share such as 1%, or all"):
        Sample.parse(text)
