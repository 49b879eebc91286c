"""Any webhook: one JSON object an alert, with its picture in base64."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from finkbridge.bot.http import Http
from finkbridge.bot.post import Post


class Webhook:
    """A receiver of JSON.

    Parameters
    ----------
    http
        To it.
    url
        Its address, a secret.
    token
        For ``Authorization: Bearer``; None for none.
    """

    def __init__(self, http: Http, url: str, token: str | None = None) -> None:
        self._http, self._url, self._token = http, url, token
        http.hide(url)

    def send(self, post: Post) -> None:
        """Post an alert; the header Idempotency-Key is its own, for receivers that want to know."""
        content: dict[str, Any] = {"text": post.text, "id": post.key, "url": post.url, "alert": post.fields}
        if post.picture is not None:
            picture = base64.b64encode(post.picture).decode()
            content["picture"] = {"type": "image/png", "base64": picture}
        self._post(content, post.key)

    def say(self, text: str) -> None:
        """Post a line."""
        self._post({"text": text}, None)

    def _post(self, content: dict[str, Any], key: str | None) -> None:
        headers = {"Idempotency-Key": hashlib.sha256(key.encode()).hexdigest()} if key else {}
        body = json.dumps(content, allow_nan=False).encode()
        self._http.post(self._url, body, "application/json", token=self._token, headers=headers)
