"""What gives a secret address away, in whatever way a service quotes it."""

from __future__ import annotations

import html
import json

import pytest

from finkbridge.spellings import passwords_in, spellings

HOOK = "https://hooks.example/services/T0001/B0001/x1Y2z3A4b5C6d7E8?thread=a%2Fb&sig=0123456789abcdef"
SECRET = "x1Y2z3A4b5C6d7E8"


def masked(text: str, secret: str = HOOK) -> str:
    for spelled in sorted(spellings(secret), key=len, reverse=True):
        text = text.replace(spelled, "*")
    return text


@pytest.mark.parametrize(
    "page",
    [
        f"no route {HOOK}",
        f"<pre>Cannot POST {HOOK.removeprefix('https://hooks.example')}</pre>",
        f"<pre>Cannot POST {html.escape(HOOK.removeprefix('https://hooks.example'))}</pre>",
        json.dumps({"url": HOOK}).replace("/", r"\/"),
        f"no hook {SECRET} of /services/T0001/B0001/{SECRET}",
        "wrong sig 0123456789abcdef",
    ],
)
def test_no_quotation_shows_it(page: str) -> None:
    said = masked(page)
    assert SECRET not in said
    assert "0123456789abcdef" not in said
    assert "*" in said


def test_common_words_stay() -> None:
    assert masked("the services of T0001") == "the services of T0001"
    assert masked("see /x of host", "http://host/x") == "see /x of host"
    assert spellings("") == set()


def test_a_token_is_masked_as_it_is_and_quoted() -> None:
    assert masked("POST /bot123%3Aabc/send, 123:abc", "123:abc") == "POST /bot*/send, *"


def test_passwords_of_addresses() -> None:
    assert passwords_in("postgresql://me:p%40ss@host/db") == {"p%40ss", "p@ss"}
    assert passwords_in("postgresql://host/db") == set()
