"""Putting a bot together, and letting it run."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from finkbridge import layout
from finkbridge.bot import channels
from finkbridge.bot.channels import Channel, Service
from finkbridge.bot.filter import Filter
from finkbridge.bot.options import Counts, Options
from finkbridge.bot.post import Post
from finkbridge.bot.run import Bot, Listener
from finkbridge.bot.state import State
from finkbridge.errors import ChannelDownError
from finkbridge.ledger.adopt import open_known
from finkbridge.settings import Loaded


class Nowhere:
    """The channel of a dry run."""

    def send(self, post: Post) -> None:
        """Do nothing: its listener is told."""

    def say(self, text: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """A bot that is ready to run.

    Raises
    ------
    SettingsError
        On its call: a secret is missing or open to others, the channel is none, or the filter cannot be used.
    LakeError
        There is no lake, or the notes cannot be used.
    ChannelError
        See `Bot.once` and `Bot.forever`.
    """

    loaded: Loaded
    service: Service
    channel: str | None
    options: Options
    listener: Listener
    stop: threading.Event

    def __call__(self, *, once: bool, dry_run: bool = False) -> Counts:
        """Run once, or until told to stop."""
        Filter(self.options.filter).close()
        settings = self.loaded.settings
        target = channels.target_of(self.loaded, self.service, self.channel, pictures=self.options.pictures)
        options = replace(self.options, pictures=target.pictures)
        if dry_run:
            options = replace(options, rate=math.inf)
        with ExitStack() as stack:
            open_ledger = partial(open_known, settings.lake, settings.ledger_url)
            open_ledger().close()  # a lake that is not there must not get notes
            path = settings.bot.state or settings.lake / layout.BOT
            state = stack.enter_context(State(path, target.name, only_try=dry_run))
            wait = state.between_tries(self.stop.wait)
            http = stack.enter_context(channels.open_http(self.loaded, target, wait))
            channel: Channel = Nowhere() if dry_run else channels.open_channel(self.loaded, target, http)
            bot = Bot(
                settings.lake,
                open_ledger,
                channel,
                state,
                settings.bot,
                options,
                self.listener,
                self.stop.wait,
            )
            try:
                return bot.once() if once else bot.forever()
            except ChannelDownError:
                if not self.stop.is_set():
                    raise
                return bot.counts
