"""Telegram: sendPhoto, or sendMessage for what has no picture. The token is in the address of requests."""

from __future__ import annotations

import json
from html import escape

from finkbridge.bot.http import Http, multipart
from finkbridge.bot.post import Post
from finkbridge.errors import ChannelError, MessageRefusedError

_ABOUT_THE_CHAT = ("chat", "bot was", "not enough rights", "peer_id")
"""What its answer says where no message will be taken, however it looks."""


class Telegram:
    """A chat.

    Parameters
    ----------
    http
        To Telegram, with the token among its secrets.
    api
        Where its bot API is.
    chat
        Its number, or @name of a public channel.
    """

    def __init__(self, http: Http, api: str, token: str, chat: str) -> None:
        self._http, self._address, self._chat = http, f"{api}/bot{token}", chat

    def send(self, post: Post) -> None:
        """Post an alert, in one message with its picture.

        Raises
        ------
        ChannelError
            See `Http.post`.
        """
        if post.picture is None:
            self._message(markup(post))
            return
        photo = ("alert.png", post.picture, "image/png")
        body, kind = multipart(
            {"chat_id": self._chat, "caption": markup(post), "parse_mode": "HTML", "photo": photo}
        )
        self._call("sendPhoto", body, kind)  # what a chat without photos refuses is sent as text

    def say(self, text: str) -> None:
        """Post a line."""
        self._message(escape(text))

    def _message(self, text: str) -> None:
        fields = {
            "chat_id": self._chat,
            "text": text,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        try:
            self._call("sendMessage", json.dumps(fields).encode(), "application/json")
        except MessageRefusedError as error:
            if any(words in str(error).lower() for words in _ABOUT_THE_CHAT):
                raise ChannelError(f"{error}: name a chat that the bot was added to") from None
            raise

    def _call(self, method: str, body: bytes, content_type: str) -> None:
        answer = self._http.post(f"{self._address}/{method}", body, content_type).json()
        if answer.get("ok") is not True:
            said = self._http.quoted(str(answer.get("description", "no answer that is known")))
            raise ChannelError(
                f"telegram refuses {method}: {said}: correct bot.telegram.api, or the proxy between"
            )


def markup(post: Post) -> str:
    """Return a post in Telegram's HTML: what senders say is in code, where nothing is a link or a mention."""
    lines = [f"<b>{_code(post.title)}</b>", *(f"{name}: {_code(value)}" for name, value in post.lines)]
    return "\n".join([*lines, escape(post.url)] if post.url else lines)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
