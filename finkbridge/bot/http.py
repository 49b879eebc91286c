"""Posting over HTTP: tried again where that surely doubles nothing, and with no secret in any error or log.

An address may be a secret (Telegram has its token in it), so errors name the service and never the address.

What is tried again: what failed before the body was sent; 429, after the time that the service asks for; 500,
502, 503 and their like, by which it says that it did not do it. Where the whole request went out and no
answer came, or another 5xx such as 504, nobody knows: only what does no harm twice is tried again.
"""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import unquote

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, make_headers, parse_url

from finkbridge import __version__
from finkbridge.errors import (
    ChannelDownError,
    ChannelError,
    MessageRefusedError,
    NoAnswerError,
    SettingsError,
)
from finkbridge.spellings import bare, quotes
from finkbridge.text import short

CONNECT_S, READ_S = 10.0, 30.0
ATTEMPTS = 5
FIRST_WAIT_S = 1.0
"""Before the second attempt; each later one waits twice as long."""
LONGEST_WAIT_S = 60.0
"""A service that asks for more is down: whoever posts decides what to do meanwhile."""
LONGEST_ASKED_S = 86_400.0
"""A service that asks for more is asked again after a day."""
MOST_BYTES = 1 << 20
"""Of an answer."""
HIDDEN = "(what it says is not shown: a part of the address is in it, which is secret)"
QUOTED = 200
"""Characters of an answer that an error quotes."""

TOO_MANY = 429
NOT_DONE = frozenset({408, TOO_MANY, 500, 502, 503, 521, 522, 523, 525, 526})
"""From 520 on they are Cloudflare's, which many webhooks are behind: these never got to the service."""
MULTIPLE_CHOICES, SERVER_ERROR = 300, 500
REFUSED = frozenset({400, 413, 415, 422})

_SERVER_LOG = logging.getLogger("urllib3.connectionpool")

Wait = Callable[[float], bool]
"""Waits so many seconds; true as soon as the command was told to stop."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said to a request that it took."""

    status: int
    headers: Mapping[str, str]
    """Under their names in any case: HTTP/2, and proxies that speak it, write them small."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as an object; an empty one where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def wait_s(self) -> float:
        """Seconds that the service asks to wait: by its header, or as Telegram and Discord say it; else 0."""
        parameters = self.json().get("parameters")
        said = [self.headers.get("Retry-After"), self.json().get("retry_after")]
        said += [parameters.get("retry_after")] if isinstance(parameters, dict) else []
        return max(_seconds(str(value).strip()) for value in said)


class Http:
    """Posts to one service; close it, or use it in a ``with``.

    Parameters
    ----------
    service
        Its name, for errors.
    secrets
        What no error and no log may show.
    wait
        See `Wait`.
    """

    def __init__(
        self, service: str, secrets: Iterable[str], wait: Wait, first_wait_s: float = FIRST_WAIT_S
    ) -> None:
        self.service = service
        self._secrets = sorted(map(bare, secrets), key=len, reverse=True)
        self._hidden: set[str] = set()
        self._wait = wait
        self._first_wait_s = first_wait_s
        _SERVER_LOG.addFilter(self._mask_record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Mask no more of what urllib3 logs."""
        _SERVER_LOG.removeFilter(self._mask_record)

    def hide(self, url: str) -> None:
        """Take an address for a secret: what it answers is not quoted where it has a part of it."""
        self._hidden.add(url)

    def post(
        self, url: str, body: bytes, content_type: str, *, token: str | None = None, repeatable: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """Post, again and again if need be.

        Parameters
        ----------
        url
            Maybe a secret.
        token
            For ``Authorization: Bearer``.
        repeatable
            Whether it does no harm that the service gets it twice.
        headers
            More of them.

        Raises
        ------
        ChannelDownError
            It surely was not done; try again later.
        NoAnswerError
            Nobody knows whether it was done.
        MessageRefusedError
            The service does not take what was posted.
        ChannelError
            It takes nothing from us.
        """
        sent = {"Content-Type": content_type, "User-Agent": f"finkbridge/{__version__}"}
        sent |= headers or {}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        for attempt in range(ATTEMPTS):
            try:
                return self._once(url, body, sent, repeatable=repeatable)
            except ChannelDownError as error:
                wait_s = max(error.wait_s, self._first_wait_s * 2**attempt)
                if attempt + 1 == ATTEMPTS or wait_s > LONGEST_WAIT_S or self._wait(wait_s):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def quoted(self, answer: str) -> str:
        """Return what a service said, safe to print: short, in ASCII, without our secrets."""
        return short(self._masked(" ".join(bare(answer).split())), QUOTED)

    def _once(self, url: str, body: bytes, headers: dict[str, str], *, repeatable: bool) -> Answer:
        sent = headers | {"Content-Length": str(len(body))}  # else what is iterated is sent in chunks
        sending = _Sending(body)
        pool = _pool(self.service, url)
        try:
            # A kept connection may be dead by the next alert, hours later: nobody would know if that came.
            with pool, closing(pool.request(
                "POST", url, body=sending, headers=sent, redirect=False, retries=False, preload_content=False,
                timeout=Timeout(connect=CONNECT_S, read=READ_S),
            )) as response:  # fmt: skip
                data = _body(response)
        except (HTTPError, OSError) as error:
            if not sending.has_begun:
                raise ChannelDownError(f"{self.service} cannot be reached ({_kind(error)})") from None
            raise self._unanswered(_kind(error), repeatable=repeatable) from None
        answer = Answer(response.status, response.headers, data)
        return self._judged(answer, url, repeatable=repeatable)

    def _judged(self, answer: Answer, url: str, *, repeatable: bool) -> Answer:
        status = answer.status
        if 200 <= status < 300:
            return answer
        body = answer.body.decode(errors="replace")
        said = HIDDEN if url in self._hidden and quotes(body, url) else self.quoted(body)
        line = f"{self.service} answered {status}{f': {said}' if said else ''}"
        if status in NOT_DONE:
            raise ChannelDownError(line, answer.wait_s)
        if status >= SERVER_ERROR:
            raise self._unanswered(f"status {status}", repeatable=repeatable)
        if status in REFUSED:
            raise MessageRefusedError(line)
        raise ChannelError(f"{line}: correct its address, token or channel")

    def _unanswered(self, why: str, *, repeatable: bool) -> ChannelError:
        if repeatable:
            return ChannelDownError(f"{self.service} does not answer ({why})")
        return NoAnswerError(f"{self.service} got the message and did not answer ({why})")

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = re.sub(re.escape(secret), "********", text, flags=re.IGNORECASE)
        return text

    def _mask_record(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._masked(bare(record.getMessage())), ()
        return True


def _seconds(said: str) -> float:
    """Return a time to wait that is given as seconds, or as a date; 0 for what is neither."""
    if re.fullmatch(r"\d{1,30}(\.\d{1,9})?", said):
        return min(float(said), LONGEST_ASKED_S)
    try:
        return min(max(0.0, parsedate_to_datetime(said).timestamp() - time.time()), LONGEST_ASKED_S)
    except (ValueError, OverflowError):
        return 0.0


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    """Return the body of an answer; nothing where it is cut and the status tells all that was done."""
    try:
        return response.read(MOST_BYTES)
    except HTTPError:
        if response.status < MULTIPLE_CHOICES:
            raise
        return b""


class _Sending:
    """A body that notes when it is sent: the same errors come before that, as in a handshake, and after."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.has_begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.has_begun = True
        yield self._body


def multipart(fields: Mapping[str, str | tuple[str, bytes, str]]) -> tuple[bytes, str]:
    """Return a form as body and content type; a file is its name, bytes and type."""
    return urllib3.encode_multipart_formdata(fields)


def _pool(service: str, url: str) -> urllib3.PoolManager:
    """Return what connects to an address, through the proxy that the environment names for it."""
    try:
        parsed = parse_url(url)
    except HTTPError:
        parsed = None
    if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.host:
        raise SettingsError(f"the address of {service} is none: it begins with https:// and a host")
    if urllib.request.proxy_bypass(parsed.host):
        return urllib3.PoolManager()
    proxy = urllib.request.getproxies().get(parsed.scheme)
    return _proxied(proxy) if proxy else urllib3.PoolManager()


def _proxied(proxy: str) -> urllib3.ProxyManager:
    try:
        auth = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=unquote(auth)) if auth else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers)
    except HTTPError:  # whose text may hold the proxy's password
        raise SettingsError(
            "the proxy that the environment names is no address: correct HTTPS_PROXY"
        ) from None


def _kind(error: Exception) -> str:
    """Return what went wrong without quoting the error, which may have the address in it."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower() or "failure"
