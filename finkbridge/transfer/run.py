"""A transfer from its beginning to its proof.

    1 look      name, schema and partitions can be had, before anything is made
    2 drain     plan, fetch, check, land, commit: the engine of `finkbridge.drain`, over a ledger of its own
    3 deliver   committed files are moved to the output folder; those that a dead run left, first of all
    4 again     until a look at the broker finds nothing more
    5 prove     messages at the broker = rows in the files

A crash between any two of these loses and doubles nothing: the same command goes on. Only committed files are
ever in the output folder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finkbridge.broker import Broker
from finkbridge.drain import Bridge, open_as
from finkbridge.errors import SettingsError
from finkbridge.execution import Landed, Listener
from finkbridge.settings import Settings
from finkbridge.transfer import outdir as output
from finkbridge.transfer.bridge import TransferBridge, settings_of
from finkbridge.transfer.look import Sample, look, refuse_partition
from finkbridge.transfer.proof import Proof, account_of, prove
from finkbridge.transfer.request import Request
from finkbridge.values import SegmentPlan


@dataclass(slots=True)
class Result:
    """What came of a transfer."""

    proofs: list[Proof] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What ended it early, one line each."""
    aside: Path | None = None
    """Where the state of an earlier transfer is now."""
    sample: Sample | None = None
    """A message of the topic with its schema; None where the topic is empty."""

    @property
    def succeeded(self) -> bool:
        """Whether every message is a row."""
        return not self.problems and all(proof.holds for proof in self.proofs)


def transfer(
    settings: Settings, request: Request, listener: Listener, stopping: threading.Event | None = None
) -> Result:
    """Transfer what a topic has, all of it, and prove it.

    Parameters
    ----------
    settings
        Clusters, limits, and the lake if the alerts are to go there.
    request
        Topic and output.
    listener
        Told of progress.
    stopping
        Set it to end early: the same request goes on from there.

    Raises
    ------
    SettingsError, BrokerError, LakeError
        The request cannot be had; nothing was changed.
    """
    request.check(settings)
    mine = settings_of(settings, request)
    result = Result(sample=_look(mine, request))
    if request.outdir is not None and request.restart:
        result.aside = output.set_aside(request.state_folder, request.outdir, request.topic)
    with open_transfer(mine, request) as bridge:
        bridge.stopping = stopping or bridge.stopping
        run_until_all(bridge, request, listener, result)
        marks = bridge.brokers[request.cluster].watermarks([request.topic])
        mine_now = {partition: found for (_, partition), found in marks.items()}
        key = request.cluster, request.topic
        ledger = bridge.coordinator.ledger
        result.proofs.append(prove(ledger, key, mine_now, request.outdir, request.limit))
    return result


@contextmanager
def open_transfer(settings: Settings, request: Request) -> Iterator[Bridge]:
    """Hold state and output folder; what a dead run committed and did not deliver is delivered."""
    if request.outdir is None:
        with open_as(Bridge, settings, [request.topic]) as lake:
            yield lake
        return
    output.make_state(request.state_folder, request.outdir)
    with open_as(TransferBridge, settings, [request.topic]) as bridge:
        bridge.exports = {request.topic: request.export}
        ledger = bridge.coordinator.ledger
        _remember(bridge, request)
        output.refuse_strangers(request.outdir, request.topic, ledger)
        output.deliver(settings.lake, request.outdir, [row.path for row in ledger.alive_files("export")])
        yield bridge


def run_until_all(bridge: Bridge, request: Request, listener: Listener, result: Result) -> None:
    """Drain again and again until nothing is left to drain."""
    watching = _Delivering(listener, request, bridge.settings.lake)
    while not bridge.stopping.is_set():
        wanted = _wanted(bridge, request)
        if wanted is None:
            return
        report = bridge.run_on({request.cluster: wanted}, watching, "transfer")
        result.problems += [problem for problem in report.problems if problem not in result.problems]
        if result.problems or not report.total("planned"):
            return


def _wanted(bridge: Bridge, request: Request) -> list[str] | None:
    """Return what the next run is for: the topic, or only what is pending; None when enough is there.

    Sets how much it may take.
    """
    if request.limit is None:
        return [request.topic]
    account = account_of(bridge.coordinator.ledger, (request.cluster, request.topic))
    room = request.limit - account.messages - account.pending
    if room <= 0:
        return [] if account.pending else None
    drain = bridge.settings.drain.model_copy(update={"max_messages": room})
    bridge.settings = bridge.settings.model_copy(update={"drain": drain})
    return [request.topic]


def _look(settings: Settings, request: Request) -> Sample | None:
    """Look at the topic, and refuse what will not go, before anything is made."""
    cluster = settings.cluster(request.cluster)
    with Broker(request.cluster, cluster, timeout_s=settings.broker_timeout_s) as broker:
        sample = look(broker, request.topic, settings.decode.schema_file)
    if sample is not None and request.partition:
        refuse_partition(sample, request.topic, request.partition)
    return sample


def _remember(bridge: Bridge, request: Request) -> None:
    """Note how this transfer's files are written; raise SettingsError if they were begun in another way."""
    file = bridge.settings.lake / "style"
    told = f"{request.format} {request.partition or '-'}"
    if not file.is_file():
        file.write_text(told)
    elif (before := file.read_text()) != told:
        raise SettingsError(
            f"{request.outdir} has this transfer begun as '{before}' (format, partition), not '{told}': ask "
            "for the same, or choose another -outdir"
        )


class _Delivering:
    """Passes on what it is told, once the files are in the output folder."""

    def __init__(self, listener: Listener, request: Request, state: Path) -> None:
        self._listener = listener
        self._outdir = request.outdir
        self._state = state

    def planned(self, offsets: int) -> None:
        self._listener.planned(offsets)

    def committed(self, plan: SegmentPlan, parts: Landed) -> None:
        if self._outdir is not None:
            paths = [f.path for part in parts for f in part.files if f.table == "export"]
            output.deliver(self._state, self._outdir, paths)
        self._listener.committed(plan, parts)
