"""Jobs that may end who does them: tried, tried in pieces, until what cannot be done is one message.

One rule says what cannot be landed, for drains and for requeues: a job whose process died, or was ended by
its deadline, or met an exception that nobody foresaw. It is replaced by its pieces, and these by theirs. A
message that fails twice with nothing beside it is refused: put aside unseen, with the reason. So no message
holds up another one.

A job whose process died is tried again in a process of its own, whose end tells why, as are the pieces of one
that ended such a process. An exception tells, and harms nothing: what is left of its job goes to the others'
processes again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from finkbridge.errors import DecodeError, FinkbridgeError, LakeError, SchemaError
from finkbridge.text import storable
from finkbridge.workforce import WorkerDiedError, Workforce

log = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")

TRIES = 2
"""Failures of a message with nothing beside it before it is refused: one may have been bad luck."""

SAID_CHARACTERS = 300
"""Of what an exception says."""


class Back(NamedTuple, Generic[J, R]):
    """A job that came back."""

    job: J
    result: R | None
    error: Exception | None = None
    """Why there is no result: a fault (see `is_fault`) only of a message that could not even be refused."""


class Owner(Protocol[J]):
    """Whose jobs they are."""

    def is_wanted(self, job: J) -> bool:
        """Whether it still matters what becomes of a job."""

    def pieces(self, job: J) -> Sequence[J]:
        """Replace a job by smaller ones; return none where it has one message only."""

    def refused(self, job: J, error: Exception) -> J | None:
        """Return the job that puts a message aside unseen; None where the job was that already."""


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[J]):
    job: J
    failures: int = 0
    """Of this very job before."""
    is_alone: bool = False


@dataclass(slots=True)
class Attempts(Generic[J, R]):
    """Jobs on their way."""

    workers: Workforce
    run: Callable[[J], R]
    """Does a job, in whatever process."""
    owner: Owner[J]
    lost_workers: bool = False
    """Whether a worker died, which may have left what it was writing."""
    _running: dict[Future[R], _Attempt[J]] = field(default_factory=dict)
    _suspects: list[_Attempt[J]] = field(default_factory=list)
    """To be tried alone, one after the other."""
    _alone: dict[Future[R], _Attempt[J]] = field(default_factory=dict)
    _stuck: list[Back[J, R]] = field(default_factory=list)

    @property
    def running(self) -> int:
        """Number of jobs that share the workers."""
        return len(self._running)

    def is_busy(self) -> bool:
        """Whether any job is on its way."""
        return bool(self._running or self._suspects or self._alone or self._stuck)

    def start(self, job: J) -> None:
        """Send a job on its way."""
        self._start(_Attempt(job))

    def wait(self, timeout_s: float) -> list[Back[J, R]]:
        """Return what comes back, once something does.

        Raises
        ------
        LakeError
            A job met it: no other one would fare better.
        """
        suspects, self._suspects = self._suspects, []
        for attempt in suspects:
            if self.owner.is_wanted(attempt.job):
                self._alone[self.workers.submit_alone(self.run, attempt.job)] = attempt
        done, _ = wait([*self._running, *self._alone], timeout=timeout_s, return_when=FIRST_COMPLETED)
        back = [found for future in done if (found := self._take(future)) is not None]
        back += self._stuck
        self._stuck.clear()
        return back

    def blame(self, job: J, error: Exception) -> None:
        """Take it that a job cannot be landed, though it came back well."""
        self._judge(_Attempt(job, TRIES), error)

    def _start(self, attempt: _Attempt[J]) -> None:
        self._running[self.workers.submit(self.run, attempt.job)] = attempt

    def _take(self, future: Future[R]) -> Back[J, R] | None:
        attempt = self._running.pop(future, None) or self._alone.pop(future)
        try:
            return Back(attempt.job, future.result())
        except LakeError:
            raise
        except BrokenExecutor:
            self.lost_workers = True
            self._suspects.append(_Attempt(attempt.job, is_alone=True))
        except Exception as error:  # noqa: BLE001 - whatever one job meets, the others go on
            if not is_fault(error):
                return Back(attempt.job, None, error)
            self.lost_workers |= isinstance(error, WorkerDiedError)
            self._judge(attempt, error)
        return None

    def _judge(self, attempt: _Attempt[J], error: Exception) -> None:
        """Decide about a job that cannot be landed."""
        job = attempt.job
        if not self.owner.is_wanted(job):
            return
        log.info("%s", error_line(error), exc_info=error if log.isEnabledFor(logging.DEBUG) else None)
        if pieces := self.owner.pieces(job):
            again = [_Attempt(piece, is_alone=attempt.is_alone) for piece in pieces]
        elif attempt.failures + 1 < TRIES:
            again = [_Attempt(job, attempt.failures + 1, attempt.is_alone)]
        elif (refused := self.owner.refused(job, error)) is not None:
            again = [_Attempt(refused, is_alone=attempt.is_alone)]
        else:
            self._stuck.append(Back(job, None, error))
            return
        for one in again:
            if one.is_alone:
                self._suspects.append(one)
            else:
                self._start(one)


def is_fault(error: Exception) -> bool:
    """Whether an error is of the messages: their job would meet it again, whenever it is tried."""
    return not isinstance(error, FinkbridgeError) or isinstance(error, DecodeError | SchemaError)


def error_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, FinkbridgeError):
        return str(error)
    if isinstance(error, WorkerDiedError):
        return f"its process {error}"
    said = storable(str(error).strip(), SAID_CHARACTERS) or "no more is known"
    return f"unexpected {type(error).__name__}: {said}"


def reason_of(error: Exception, timeout_s: float) -> str:
    """Return why a message that met an error twice goes to quarantine."""
    if not isinstance(error, WorkerDiedError):
        return error_line(error)
    if error.is_timeout:
        return f"takes longer than {timeout_s:g} s to decode"
    return f"kills the decoder: {error_line(error)}"
