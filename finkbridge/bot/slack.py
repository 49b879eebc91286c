"""Slack: its web API with pictures, or an incoming webhook with text alone."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlencode

from finkbridge.bot.http import Http
from finkbridge.bot.post import Post
from finkbridge.errors import ChannelDownError, ChannelError, MessageRefusedError, NoAnswerError

CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]{6,}")
FORM = "application/x-www-form-urlencoded"
JSON = "application/json; charset=utf-8"

_ADVICE = {
    "invalid_auth": "set its token anew",
    "not_authed": "set its token",
    "token_revoked": "set a new token",
    "account_inactive": "set a token of a bot that still is there",
    "missing_scope": "give the bot the scopes chat:write and files:write, and install it again",
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "name a channel that is there, and invite the bot to it",
    "is_archived": "name another channel",
}
_BUSY = frozenset({"ratelimited", "rate_limited", "service_unavailable"})
_UNKNOWN = frozenset({"fatal_error", "internal_error"})
"""Slack: some of it may have been done before the error."""
_OF_THE_MESSAGE = frozenset({"invalid_blocks", "msg_too_long", "no_text", "invalid_arguments"})


class Slack:
    """A channel, by the web API.

    Parameters
    ----------
    http
        To Slack.
    api
        Where its web API is.
    channel
        Its ID, which pictures need (C...), or #name.
    """

    def __init__(self, http: Http, api: str, token: str, channel: str) -> None:
        self._http, self._api, self._token, self._channel = http, api, token, channel

    def send(self, post: Post) -> None:
        """Post an alert, in one message with its picture.

        Raises
        ------
        ChannelError
            See `Http.post`.
        """
        if post.picture is None:
            self._message(markup(post), post.title)
            return
        try:
            file_id = self._upload(post.picture)
        except NoAnswerError as error:  # nothing is posted yet
            raise ChannelDownError(str(error)) from None
        files = [{"id": file_id, "title": post.title}]
        fields = {"files": json.dumps(files), "channel_id": self._channel, "blocks": _blocks(markup(post))}
        self._call("files.completeUploadExternal", fields)

    def say(self, text: str) -> None:
        """Post a line."""
        self._message(escape(text), text)

    def _message(self, text: str, plain_text: str) -> None:
        fields = {"channel": self._channel, "text": escape(plain_text), "blocks": _blocks(text)}
        self._call("chat.postMessage", fields | {"unfurl_links": "false", "unfurl_media": "false"})

    def _upload(self, picture: bytes) -> str:
        fields = {"filename": "alert.png", "length": str(len(picture))}
        place = self._call("files.getUploadURLExternal", fields, repeatable=True)
        url, file_id = place.get("upload_url"), place.get("file_id")
        if not isinstance(url, str) or not isinstance(file_id, str):
            raise ChannelDownError("slack gave no place for the picture")
        self._http.hide(url)
        self._http.post(url, picture, "application/octet-stream", repeatable=True)  # never with the token
        return file_id

    def _call(self, method: str, fields: dict[str, str], *, repeatable: bool = False) -> dict[str, Any]:
        body = urlencode(fields).encode()
        url = f"{self._api}/{method}"
        answer = self._http.post(url, body, FORM, token=self._token, repeatable=repeatable).json()
        if answer.get("ok") is True:
            return answer
        raise self._failure(method, str(answer.get("error", "no answer that is known")))

    def _failure(self, method: str, said: str) -> ChannelError:
        line = f"slack refuses {method}: {self._http.quoted(said)}"
        if said in _BUSY:
            return ChannelDownError(line)
        if said in _UNKNOWN:
            return NoAnswerError(f"slack got the message and says {said}")
        if said in _OF_THE_MESSAGE:
            return MessageRefusedError(line)
        return ChannelError(f"{line}: {_ADVICE.get(said, 'look the word up in the manual of its web API')}")


class SlackWebhook:
    """A channel, by the incoming webhook that Slack (or Mattermost) gave for it."""

    def __init__(self, http: Http, url: str) -> None:
        self._http, self._url = http, url
        http.hide(url)

    def send(self, post: Post) -> None:
        """Post an alert, without its picture."""
        self._post(markup(post))

    def say(self, text: str) -> None:
        """Post a line."""
        self._post(escape(text))

    def _post(self, text: str) -> None:
        self._http.post(self._url, json.dumps({"text": text}).encode(), JSON)


def markup(post: Post) -> str:
    """Return a post in Slack's markup: what senders say is in code, where nothing is a link or a command."""
    lines = [f"*{code(post.title)}*", *(f"{name}: {code(value)}" for name, value in post.lines)]
    return "\n".join([*lines, f"<{escape(post.url)}>"] if post.url else lines)


def code(text: str) -> str:
    """Return text as code."""
    return f"`{escape(text).replace('`', chr(39))}`"


def escape(text: str) -> str:
    """Return text with what begins Slack's commands escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(text: str) -> str:
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
    return json.dumps([section])
