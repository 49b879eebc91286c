"""What gives a secret address away, in whatever way a service quotes it."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, unquote

import pytest

from finkbridge.spellings import all_parts, bare, passwords_in, spellings

HOOK = "https://hooks.example/services/T0001/B0001/x1Y2z3A4b5C6d7E8?thread=a%2Fb&sig=0123456789ab%2Bcdef%2F"
SECRET = "x1Y2z3A4b5C6d7E8"


def masked(text: str, parts: set[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "*")
    return text


def said(answer: str, secret: str = HOOK) -> str:
    """Return what is quoted of a service's answer."""
    return masked(bare(answer), all_parts(secret))


TARGET = HOOK.removeprefix("https://hooks.example")


@pytest.mark.parametrize(
    "answer",
    [
        f"no route {HOOK}",
        f"<pre>Cannot POST {TARGET}</pre>",
        f"<pre>Cannot POST {html.escape(TARGET)}</pre>",
        f"Cannot POST {TARGET.removeprefix('/services')}",
        html.escape(TARGET).replace("/", "&#x2F;").replace("=", "&#61;"),
        json.dumps({"url": HOOK}).replace("/", r"\/"),
        json.dumps({"url": HOOK}).replace("/", r"\u002F").replace("+", r"\u002b"),
        f'<a href="/login?ReturnUrl={quote(TARGET, safe="")}">',
        f'<a href="/login?ReturnUrl={quote(TARGET, safe="").lower()}">'.replace(SECRET.lower(), SECRET),
        quote(quote(TARGET, safe=""), safe=""),
        f"no hook {SECRET} of /services/T0001/B0001/{SECRET}",
        json.dumps({"query": {"sig": "0123456789ab+cdef/"}}),
        unquote(TARGET),
    ],
)
def test_no_quotation_of_a_service_shows_it(answer: str) -> None:
    quoted = said(answer)
    assert SECRET not in quoted
    assert "0123456789ab" not in quoted
    assert "*" in quoted


@pytest.mark.parametrize(
    "answer", ["key=pAssw0rd1", '{"key": "pAssw0rd1"}', "no S3cr3t?key=pAssw0rd1", "/S3cr3t"]
)
def test_short_parts_are_hidden_in_what_a_service_says(answer: str) -> None:
    quoted = said(answer, "http://host/h/S3cr3t?key=pAssw0rd1")
    assert "S3cr3t" not in quoted
    assert "pAssw0rd1" not in quoted


@pytest.mark.parametrize(
    "spelled", ["123:abc", "123%3Aabc", "123%3aabc", r"123\u003Aabc", "123&#58;abc", "123%253Aabc"]
)
def test_a_token_is_hidden_however_it_is_spelled(spelled: str) -> None:
    assert said(f"POST /bot{spelled}/send", "123:abc") == "POST /bot*/send"


def test_all_other_output_keeps_common_words() -> None:
    assert masked("the services of T0001", spellings(HOOK)) == "the services of T0001"
    assert masked("see /x of host", spellings("http://host/x")) == "see /x of host"
    assert SECRET not in masked(f"no route {TARGET}, hook {SECRET}", spellings(HOOK))
    assert spellings("") == set()


def test_passwords_of_addresses() -> None:
    assert passwords_in("postgresql://me:p%40ss@host/db") == {"p%40ss", "p@ss"}
    assert passwords_in("postgresql://host/db") == set()
