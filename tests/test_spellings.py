"""What gives a secret address away, in whatever way a service quotes it."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, unquote

import pytest

from finkbridge.spellings import bare, passwords_in, quotes, spellings

HOOK = "https://hooks.example/services/T0001/B0001/x1Y2z3A4b5C6d7E8?thread=a%2Fb&sig=0123456789ab%2Bcdef%2F"
SECRET = "x1Y2z3A4b5C6d7E8"


def masked(text: str, parts: set[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "*")
    return text


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
def test_a_quotation_of_a_secret_address_is_noticed(answer: str) -> None:
    assert quotes(answer, HOOK)
    assert quotes(answer.upper(), HOOK) or "%" in answer or "&" in answer or "\\" in answer


@pytest.mark.parametrize(
    "answer",
    ["key=pAssw0rd1", '{"key": "pAssw0rd1"}', "no S3cr3t?key=pAssw0rd1", "/S3cr3t", "s3cr3t", r"\x2FS3cr3t"],
)
def test_short_parts_are_noticed(answer: str) -> None:
    assert quotes(answer, "http://host/h/S3cr3t?key=pAssw0rd1")


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("?c2VjcmV0LWtleQ==", "missing c2VjcmV0LWtleQ=="),
        ("h/T0001%2Fs3cr3tKEY9", "no s3cr3tKEY9"),
        ("?auth=user%3As3cr3tKEY9", '{"password": "s3cr3tKEY9"}'),
        ("h/s3cr3tKEY9.json", "no s3cr3tKEY9"),
    ],
)
def test_pieces_of_parts_are_noticed(target: str, answer: str) -> None:
    assert quotes(answer, f"https://host/{target}")


def test_a_blank_is_noticed_as_it_is_decoded() -> None:
    assert quotes('{"sig": "S3cr tKeyA"}', "http://host/?sig=S3cr+tKeyA")
    assert quotes("sig=my+secret", "http://host/?sig=my%20secret")


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("https://host/message?token=AbC123", "Field 'message' is required"),
        ("https://host/webhook/1b2c-3d4e", "Webhook not found"),
        ("https://host/notifications/1b2c-3d4e", "no rights for notifications"),
        ("http://host/alert", '{"loc": ["body", "alert", "mag"], "msg": "field required"}'),
    ],
)
def test_common_words_of_an_address_tell_nothing(address: str, answer: str) -> None:
    assert not quotes(answer, address)
    assert quotes(f"no route {address.removeprefix('https://host').removeprefix('http://host')}", address)


@pytest.mark.parametrize("answer", ["", "no_service", "channel not found: token and code are missing", "h"])
def test_what_quotes_nothing_may_be_shown(answer: str) -> None:
    assert not quotes(answer, "http://host/h/S3cr3t?token=pAssw0rd1&code=12345")


@pytest.mark.parametrize(
    "spelled",
    ["123:abc", "123%3Aabc", "123%3aabc", r"123\u003Aabc", r"123\x3Aabc", "123&#58;abc", "123%253Aabc"],
)
def test_a_token_is_bare_however_it_is_spelled(spelled: str) -> None:
    assert bare(f"POST /bot{spelled}/send") == "POST /bot123:abc/send"


def test_all_other_output_keeps_common_words() -> None:
    assert masked("the services of T0001", spellings(HOOK)) == "the services of T0001"
    assert masked("see /x of host", spellings("http://host/x")) == "see /x of host"
    assert SECRET not in masked(f"no route {TARGET}, hook {SECRET}", spellings(HOOK))
    assert "notifications" not in spellings("https://host/notifications/1b2c-3d4e")
    assert {"hunter", "correcthorse"} <= spellings("https://me:hunter@host/x?key=correcthorse")
    assert spellings("") == set()


def test_the_half_of_a_token_that_is_secret_is_so_by_itself() -> None:
    assert spellings("123456:AAF-very_secret") == {"123456:AAF-very_secret", "AAF-very_secret"}
    assert spellings("12:short") == {"12:short"}
    assert "8080/hook" not in spellings("http://127.0.0.1:8080/hook")


def test_passwords_of_addresses() -> None:
    assert passwords_in("postgresql://me:p%40ss@host/db") == {"p%40ss", "p@ss"}
    assert passwords_in("postgresql://host/db") == set()
    assert passwords_in("http://bob:p@ssw0rd@host/x") == {"p@ssw0rd"}
