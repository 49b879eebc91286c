"""What a check says, and checks that end in time whatever they meet."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Literal

from finkbridge.errors import FinkbridgeError

State = Literal["good", "doubtful", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    check: str
    """Kind: settings, credentials, lake, space, ledger, packages, name, connection, access, topic, message,
    clock."""
    subject: str
    state: State
    said: str
    todo: str = ""


Check = Callable[[], Iterable[Finding]]


def limited(check: str, subject: str, run: Check, limit_s: float) -> list[Finding]:
    """Run a check; that it took longer than its limit, or failed, is a finding too, behind those it had.

    It runs in a thread that keeps no process alive: names that do not resolve, dead disks and silent brokers
    hold their caller for as long as they like.
    """
    found: list[Finding] = []
    ended: Future[None] = Future()

    def work() -> None:
        try:
            found.extend(run())
            ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
            ended.set_exception(error)

    threading.Thread(target=work, name=f"doctor-{check}", daemon=True).start()
    try:
        ended.result(limit_s)
    except FutureTimeoutError:
        trouble = f"no answer within {limit_s:g} s", "try again, or ask who runs it"
    except FinkbridgeError as error:
        trouble = parted(error)
    except Exception as error:  # noqa: BLE001 - whatever one check meets, the others are told
        said = " ".join(str(error).split())
        trouble = f"unexpected {type(error).__name__}: {said}", "tell the makers of finkbridge"
    else:
        return found
    return [*found, Finding(check, subject, "bad", *trouble)]


def parted(error: FinkbridgeError) -> tuple[str, str]:
    """Return what happened, and what to do: our errors say both, with the last colon between."""
    said, _, todo = str(error).rpartition(": ")
    return (re.sub(r"^cluster \S+: ", "", said), todo) if said else (todo, "")
