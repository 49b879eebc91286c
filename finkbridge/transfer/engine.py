"""The drain's engine at work for a transfer: opened over its own state, and run until nothing is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finkbridge.drain import Bridge, open_as
from finkbridge.errors import SettingsError
from finkbridge.execution import Landed, Listener
from finkbridge.settings import Settings
from finkbridge.transfer import outdir as output
from finkbridge.transfer.bridge import TransferBridge
from finkbridge.transfer.look import Sample
from finkbridge.transfer.proof import Proof, account_of
from finkbridge.transfer.request import Request
from finkbridge.values import Export, SegmentPlan

STYLE = "style"
"""File of the state: how the transfer's files are written."""


@dataclass(slots=True)
class Result:
    """What came of a transfer."""

    proofs: list[Proof] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What ended it early, one line each."""
    notes: list[str] = field(default_factory=list)
    """What a user should know, though all is well."""
    sample: Sample | None = None
    """The schema of the topic's first message; None where the topic is empty."""

    @property
    def succeeded(self) -> bool:
        """Whether every message is a row."""
        return not self.problems and all(proof.holds for proof in self.proofs)


@contextmanager
def open_transfer(
    settings: Settings, request: Request, exports: Mapping[str, Export]
) -> Iterator[TransferBridge]:
    """Hold a transfer's state.

    Parameters
    ----------
    settings
        Of `finkbridge.transfer.bridge.settings_of`.
    request
        Into a plain folder.
    exports
        How each topic's messages are written.
    """
    if request.outdir is None:
        raise ValueError("a transfer into the lake has no state of its own")
    output.make_state(request.state_folder, request.outdir)
    with open_as(TransferBridge, settings, list(exports)) as bridge:
        bridge.exports = exports
        bridge.is_lasting = True  # nothing is published, and more may come: its workers wait
        _remember(settings.lake, request)
        yield bridge


class Delivering:
    """A listener that moves what is committed to the output folder, and passes on what it is told."""

    def __init__(self, listener: Listener, state: Path, outdir: Path) -> None:
        self._listener = listener
        self._state = state
        self._outdir = outdir

    def planned(self, offsets: int) -> None:
        """Pass on."""
        self._listener.planned(offsets)

    def committed(self, plan: SegmentPlan, parts: Landed) -> None:
        """Deliver, then pass on."""
        paths = [file.path for part in parts for file in part.files if file.table == "export"]
        output.deliver_landed(self._state, self._outdir, paths)
        self._listener.committed(plan, parts)


def run_until_all(
    bridge: Bridge, key: tuple[str, str], limit: int | None, listener: Listener, result: Result
) -> int:
    """Drain a topic again and again until nothing is left to drain; return how many messages came.

    Parameters
    ----------
    bridge
        Open.
    key
        Cluster and topic.
    limit
        Messages at most, those counted that came before; None: all.
    listener
        Told of progress.
    result
        Gets the problems.
    """
    cluster, came = key[0], 0
    while not bridge.stopping.is_set():
        wanted = _wanted(bridge, key, limit)
        if wanted is None:
            break
        report = bridge.run_on({cluster: wanted}, listener, "transfer")
        came += report.total("messages")
        result.problems += [problem for problem in report.problems if problem not in result.problems]
        if result.problems or not report.total("planned"):
            break
    return came


def _wanted(bridge: Bridge, key: tuple[str, str], limit: int | None) -> list[str] | None:
    """Return what the next run is for: the topic, or only what is pending; None when enough is there.

    Sets how much it may take.
    """
    room = None
    if limit is not None:
        account = account_of(bridge.coordinator.ledger, key)
        room = limit - account.messages - account.pending
        if room <= 0:
            return [] if account.pending else None
    drain = bridge.settings.drain.model_copy(update={"max_messages": room})
    bridge.settings = bridge.settings.model_copy(update={"drain": drain})
    return [key[1]]


def _remember(state: Path, request: Request) -> None:
    """Note how this transfer's files are written; raise SettingsError if they were begun in another way."""
    file, told = state / STYLE, f"{request.format} {request.partition or '-'}"
    if not file.is_file() or not (before := file.read_text()):  # empty: the machine died as it was written
        file.write_text(told)
    elif before != told:
        raise SettingsError(
            f"{request.outdir} has this transfer begun as '{before}' (format, partition), not '{told}': ask "
            "for the same, or choose another -outdir"
        )
