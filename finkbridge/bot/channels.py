"""The channels that settings and options name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from finkbridge.bot import secrets
from finkbridge.bot.http import Http, Wait
from finkbridge.bot.post import Post
from finkbridge.bot.slack import CHANNEL_ID, Slack, SlackWebhook
from finkbridge.bot.telegram import Telegram
from finkbridge.bot.webhook import Webhook
from finkbridge.errors import SettingsError
from finkbridge.settings import Loaded

Service = Literal["slack", "telegram", "webhook"]


class Channel(Protocol):
    """Where alerts are posted."""

    def send(self, post: Post) -> None:
        """Post an alert; raise ChannelError if that fails."""

    def say(self, text: str) -> None:
        """Post a line; raise ChannelError if that fails."""


@dataclass(frozen=True, slots=True)
class Target:
    """A channel that is named: which, and what it can."""

    service: Service
    name: str
    """Tells it from any other, without a secret."""
    channel: str | None
    """Of the service; None for a webhook."""
    address: str | None
    """Of the webhook, a secret."""
    pictures: bool


def target_of(loaded: Loaded, service: Service, channel: str | None, *, pictures: bool) -> Target:
    """Return the channel that is named.

    Raises
    ------
    SettingsError
        A secret is missing or open to others, or the channel is none.
    """
    if service == "webhook" or (service == "slack" and channel is None and loaded.settings.bot.slack.webhook):
        return _webhook(loaded, service, channel, pictures=pictures and service == "webhook")
    if channel is None:
        raise SettingsError(f"say which channel: -channel {_EXAMPLES[service]}")
    if service == "slack" and pictures and not CHANNEL_ID.fullmatch(channel):
        raise SettingsError(
            f"{channel!r} is no ID of a Slack channel, which pictures need: it is at the end of the "
            "channel's details (C0123456789), or use --no-picture"
        )
    api = loaded.settings.bot.slack.api if service == "slack" else loaded.settings.bot.telegram.api
    return Target(service, f"{service} {api} {channel}", channel, None, pictures)


def open_channel(loaded: Loaded, target: Target, http: Http) -> Channel:
    """Return a channel that posts for real."""
    bot = loaded.settings.bot
    if target.address is not None:
        if target.service == "slack":
            return SlackWebhook(http, target.address)
        return Webhook(http, target.address, secrets.read_secret(loaded, "bot.webhook.token"))
    channel = target.channel or ""
    if target.service == "slack":
        return Slack(http, bot.slack.api, secrets.require_secret(loaded, "bot.slack.token"), channel)
    return Telegram(http, bot.telegram.api, secrets.require_secret(loaded, "bot.telegram.token"), channel)


def open_http(loaded: Loaded, target: Target, wait: Wait) -> Http:
    """Return what posts to a channel's service."""
    return Http(target.service, secrets.all_secrets(loaded), wait)


_EXAMPLES = {"slack": "C0123456789", "telegram": "@NAME, or the number of a chat", "webhook": ""}


def _webhook(loaded: Loaded, service: Service, channel: str | None, *, pictures: bool) -> Target:
    if channel is not None:
        raise SettingsError("a webhook is one channel: leave -channel out")
    key = "bot.slack.webhook" if service == "slack" else "bot.webhook.url"
    address = secrets.require_secret(loaded, key)
    try:
        host = parse_url(address).host
    except HTTPError:
        host = None
    if not host or not address.startswith(("https://", "http://")) or parse_url(address).auth:
        raise SettingsError(
            f"the address in {key} is no address of a webhook: it begins with https:// and a host, without a "
            "user (bot.webhook.token is sent as a Bearer token)"
        )
    mark = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Target(service, f"{service} {host} {mark}", None, address, pictures)
