"""The consumer for scripts: what fink-client's ``AlertConsumer`` does, with its signature."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from finkbridge.avro.schemas import WriterSchema, read_schema
from finkbridge.broker.assignment import Received
from finkbridge.broker.placing import OnAssign
from finkbridge.consumer.config import cluster_settings
from finkbridge.consumer.opening import Opened
from finkbridge.consumer.saving import Saver, Unsaved
from finkbridge.consumer.session import Session, Wish
from finkbridge.errors import AlertExistsError, DecodeError, SettingsError

LOGGER = logging.getLogger(__name__)

ADVICE = (
    "poll again for the one behind it, or give the right schema as schema_path (dump_schema=True saves the "
    "one that is used)"
)
SERVICES = {"datatransfer": ("ftransfer_",), "xmatch": ("fxmatch_",), "stats": ("fink_ztf_", "fink_lsst_")}
"""How the topics of a service begin; all others are the livestream's."""
MOST_AT_ONCE = 1000


class Polled(NamedTuple):
    """What a poll gives, as fink-client's does: three times None when nothing came in time."""

    topic: str | None
    alert: dict[str, Any] | None
    key: str | None


NOTHING = Polled(None, None, None)


class AlertConsumer:
    """Polls alerts, one by one or several at once, as a member of your consumer group.

    An alert counts as handled when the next one is asked for, or at `close`; only then is its offset
    committed. Where the script dies before, or leaves the context by an error, it comes again. Not for
    several threads.

    Parameters
    ----------
    topics : list of str
        Names and patterns; a pattern (``fink_sn_*``) stands for the topics that are there now.
    config : dict
        ``bootstrap.servers`` and ``group.id``; ``username`` with ``password``, or ``sasl.username`` with
        ``sasl.password``, where the cluster wants them: without a password (absent, None, empty) there is no
        SASL. Any other key of librdkafka. fink-client's old spellings (``servers``, ``group_id``) work, and
        so does what `finkbridge.load_credentials` returns.
    survey : str, optional
        ``ztf`` or ``lsst``, for messages; how an alert is named does not depend on it.
    schema_path : str, optional
        Avro schema (.avsc) of every alert, whatever the alerts say.
    dump_schema : bool
        Save each writer schema once, as ``schema_<id>.json`` in the working folder.
    on_assign : callable, optional
        Called with confluent_kafka's consumer and its new partitions, to ``assign`` them where they begin.

    Raises
    ------
    SettingsError
        The config lacks something, or the schema file is none.
    UnknownTopicError
        None of the topics is there.
    AuthenticationError, UnreachableError
        The cluster refuses, or is not there.
    """

    def __init__(
        self,
        topics: Sequence[str] | None,
        config: Mapping[str, Any],
        survey: str | None = None,
        schema_path: str | Path | None = None,
        dump_schema: bool = False,
        on_assign: OnAssign | None = None,
    ) -> None:
        self.survey = survey
        self.schema: WriterSchema | None = None
        """The writer schema of the last alert."""
        path = schema_path or config.get("schema_path")
        folder = config.get("schema_folder")
        wish = Wish(
            survey or "of the consumer",
            cluster_settings(config),
            schema=read_schema(Path(path)) if path else None,
            schema_folder=Path(folder) if folder else None,
            on_assign=on_assign,
            advice=ADVICE,
        )
        self._session = Session(wish, _dump if dump_schema else None)
        self._fetched: list[Received] = []
        """Taken from the broker, and not yet handled: where a call is stopped, the next one finds it here."""
        self._given = 0
        """How many of these, the first ones, the script has."""
        self._ended = 0
        """See `Assignment.ended`, when it was last looked at."""
        self._savers: dict[Path, Saver] = {}
        if topics:
            self._subscribe([topics] if isinstance(topics, str) else topics)
        else:
            LOGGER.warning("no topics are named: the consumer can only list what is there")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._given = 0  # it was being handled when the script failed
        self.close()

    def __iter__(self) -> Iterator[Polled]:
        """Yield alerts for ever."""
        while True:
            yield self.poll()

    def poll(self, timeout: float = -1) -> Polled:
        """Return the next alert.

        Parameters
        ----------
        timeout
            Seconds to wait; negative waits for ever.

        Returns
        -------
        (topic, alert, key)
            Three times None when the time is over. The key is text: mostly the writer schema.

        Raises
        ------
        DecodeError
            The message cannot be decoded. The next poll goes on behind it; if the script ends instead, the
            group's next consumer begins with it.
        BrokerError
            The cluster or its schema registry refuses, or is not there. The next poll gives the alert that
            this one would have given.
        """
        found = [_polled(opened) for opened in self._gather(1, timeout)]
        self._given = len(found)  # last of all: what Ctrl-C takes before is given again
        return found[0] if found else NOTHING

    def consume(self, num_alerts: int = 1, timeout: float = -1) -> list[Polled]:
        """Return up to `num_alerts` alerts, fewer when the time (s) is over; see `poll`."""
        found = [_polled(opened) for opened in self._gather(num_alerts, timeout)]
        self._given = len(found)
        return found

    def poll_and_write(self, outdir: str | Path, timeout: float = -1, overwrite: bool = False) -> Polled:
        """Return the next alert, saved as a file of its own; see `poll`.

        Parameters
        ----------
        outdir
            Folder of the file, made where it is not there. See `finkbridge.consumer.names.file_name`.
        timeout
            Seconds to wait; negative waits for ever.
        overwrite
            Whether a file that is there may be replaced.

        Raises
        ------
        AlertExistsError
            It may not; the next poll goes on behind the alert, which counts as not handled.
        SaveError
            The disk refuses. The next poll gives the same alert.
        """
        gathered = self._gather(1, timeout)
        if not gathered:
            return NOTHING
        opened = gathered[0]
        name = self._session.opener.name(opened.received, opened.schema, opened.datum)
        try:
            self._saver(Path(outdir)).save([Unsaved(name, opened.schema, opened.datum)], overwrite=overwrite)
        except AlertExistsError:
            del self._fetched[0]
            raise
        polled = _polled(opened)
        self._given = 1
        return polled

    def available_topics(self, service: str = "livestream") -> dict[str, int]:
        """Return the topics of a service with the number of their partitions.

        Parameters
        ----------
        service
            ``livestream``, ``datatransfer``, ``xmatch``, ``stats`` (the counting topics), or ``all``.
        """
        if service not in (*SERVICES, "livestream", "all"):
            raise SettingsError(
                f"{service!r} is no service: say livestream, datatransfer, xmatch, stats or all"
            )
        topics = self._session.poller.topics()
        return {name: count for name, count in topics.items() if service in ("all", service_of(name))}

    def available_brokers(self) -> dict[int, str]:
        """Return ``host:port`` of each broker, by its number."""
        return self._session.poller.brokers()

    def close(self) -> None:
        """Commit what was handled, and leave the group."""
        self._conclude()
        self._session.close()
        while self._savers:
            self._savers.popitem()[1].close()

    def _subscribe(self, topics: Sequence[str]) -> None:
        try:
            self._session.subscribe(topics)
        except BaseException:
            self._session.close()
            raise

    def _gather(self, count: int, timeout: float) -> list[Opened]:
        """Open the next messages, up to the first that cannot be; the next call tells of that one."""
        self._conclude()
        deadline = None if timeout < 0 else time.monotonic() + timeout
        opened = self._without_stale([])
        while len(opened) < count:
            if len(opened) == len(self._fetched):
                is_more = self._fetch(count - len(opened), deadline)
                opened = self._without_stale(opened)
                if not is_more:
                    break
                continue
            try:
                opened.append(self._open(self._fetched[len(opened)]))
            except DecodeError:
                if opened:
                    break
                del self._fetched[0]
                raise
        return opened

    def _fetch(self, count: int, deadline: float | None) -> bool:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        poll = self._session.poller.poll
        return bool(poll(min(count, MOST_AT_ONCE), left, into=self._fetched))

    def _without_stale(self, opened: list[Opened]) -> list[Opened]:
        """Let go of what is another member's by now, or comes again: its partition was taken meanwhile."""
        assignment = self._session.poller.assignment
        if assignment.ended == self._ended:
            return opened
        ended = assignment.ended
        self._fetched = [received for received in self._fetched if assignment.is_current(received)]
        self._ended = ended
        return [one for one in opened if assignment.is_current(one.received)]

    def _conclude(self) -> None:
        """Take all alerts that were given out as handled."""
        self._session.poller.done(self._fetched[: self._given])
        self._fetched, self._given = self._fetched[self._given :], 0

    def _open(self, received: Received) -> Opened:
        opened = self._session.opener.open(received)
        self.schema = opened.schema
        return opened

    def _saver(self, folder: Path) -> Saver:
        if folder not in self._savers:
            self._savers[folder] = Saver(folder)
        return self._savers[folder]


def service_of(topic: str) -> str:
    """Return the service of Fink's that a topic belongs to."""
    return next((name for name, begins in SERVICES.items() if topic.startswith(begins)), "livestream")


def dump_schema(schema: WriterSchema) -> Path:
    """Save a writer schema, exactly as received, in the working folder; return its file."""
    file = Path(f"schema_{schema.fingerprint}.json")
    file.write_bytes(schema.text)
    return file


def _dump(schema: WriterSchema) -> None:
    print(f"Schema saved as {dump_schema(schema)}")


def _polled(opened: Opened) -> Polled:
    key = opened.received.message.key
    return Polled(opened.received.topic, opened.alert, "" if key is None else key.decode(errors="replace"))
