"""Kill drains at random instants, for as long as asked, and see whether the lake is exact at the end.

    python -m tests.torture.kills --kills 1000 --seed 7 [--json]

Messages are produced all the time. In a loop a drain (in one process, with workers, or following for ever) is
started, and its coordinator, a worker, both, the whole process group or the server of its workers is killed.
Each second kill comes at any instant at all; the others wait until fetching begins, and so measure how long
that takes after the kill before. SIGTERM ends the killing early; what was done by then is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import psutil

from tests.torture import processes, results
from tests.torture.truth import compare
from tests.torture.world import Lake, World, lakes, torture_world

RATE = 25.0
"""Messages a second."""
RECOVERED_WITHIN_S = 3.0
ENDS_WITHIN_S = 90.0
"""Longest that a run may take on whose worker was killed: more is a hang."""
LEAVES_WITHIN_S = 10.0
"""Longest that a worker may outlive its coordinator."""
PACE_S = 1.5
"""Spread of the random instants, beside what the machine takes until it fetches."""
TELL_EVERY_S = 60.0
LEFT_ALONE_EVERY = 8
"""Kills after which one drain is left alone, and must succeed."""


class Attack(NamedTuple):
    """A command, and what of it is killed."""

    command: tuple[str, ...]
    victim: str
    weight: int

    @property
    def name(self) -> str:
        """Return it in words."""
        mode = "follow" if self.command[0] == "follow" else "drain"
        count = self.command[-1]
        return f"{mode}, {count} workers: {self.victim}"


ATTACKS = [
    Attack(("drain", "--workers", "0"), "coordinator", 6),
    Attack(("drain", "--workers", "2"), "coordinator", 3),
    Attack(("drain", "--workers", "2"), "worker", 3),
    Attack(("drain", "--workers", "2"), "coordinator and workers", 2),
    Attack(("drain", "--workers", "2"), "process group", 2),
    Attack(("drain", "--workers", "2"), "fork server", 1),
    Attack(("follow", "--workers", "0"), "coordinator", 2),
    Attack(("follow", "--workers", "2"), "process group", 1),
]
LIVES_ON = ("worker", "fork server")
"""Victims without which the run ends by itself, in good order."""


@dataclass(slots=True)
class Tally:
    """What happened to one lake."""

    kills: Counter[str] = field(default_factory=Counter)
    too_late: int = 0
    """Runs that were over before their kill."""
    recoveries_s: list[float] = field(default_factory=list)
    """From the start of a command after a kill until it fetches."""
    problems: list[str] = field(default_factory=list)
    """Hangs, orphans and tracebacks."""


class Killer:
    """Kills what works on one lake, again and again."""

    def __init__(self, lake: Lake, seed: int) -> None:
        self.lake = lake
        self.stopping = threading.Event()
        self.tally = Tally()
        self._rng = random.Random(seed)
        self._begin_s = 1.0
        """What a command takes about until it fetches, on this machine."""

    def kill(self, times: int) -> None:
        """Go on until so many are killed."""
        while self.tally.kills.total() < times and not self.stopping.is_set():
            if self.tally.kills.total() % LEFT_ALONE_EVERY == LEFT_ALONE_EVERY - 1:
                self._leave_alone()
            self._attack(self._rng.choices(ATTACKS, [a.weight for a in ATTACKS])[0])

    def _leave_alone(self) -> None:
        code, said = self.lake.run("drain", "--workers", "0")
        if code:
            self._complain(f"a drain that was left alone: exit code {code}: {said}", said=False)

    def _attack(self, attack: Attack) -> None:
        began = time.monotonic()
        process = self.lake.start(*attack.command)
        try:
            self._await_instant(process, attack, began)
            hit = self._hit(process, attack.victim)
            self._see_it_end(process, attack, hit)
            if hit and (attack.victim in LIVES_ON or process.poll() == -signal.SIGKILL):
                self.tally.kills[attack.name] += 1
            else:
                self.tally.too_late += 1  # it had ended, or was about to
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _await_instant(self, process: subprocess.Popen[bytes], attack: Attack, began: float) -> None:
        """Wait for any instant, or for one after fetching has begun."""
        if attack.victim in (*LIVES_ON, "coordinator and workers"):
            self._await(process, lambda: processes.workers(process.pid))
            time.sleep(self._rng.uniform(0, self._begin_s))
        elif self._rng.random() < 0.5:
            self._await(process, self.lake.mark.exists)
            if self.lake.mark.exists():
                took = time.monotonic() - began
                self.tally.recoveries_s.append(took)
                self._begin_s += (took - self._begin_s) / 5
            time.sleep(self._rng.uniform(0, self._begin_s))
        else:
            time.sleep(self._rng.uniform(0, 2 * self._begin_s))
        time.sleep(self._rng.uniform(0, PACE_S))

    def _await(self, process: subprocess.Popen[bytes], condition: Any) -> None:
        until = time.monotonic() + ENDS_WITHIN_S
        while process.poll() is None and not condition():
            if time.monotonic() > until:
                self._complain(f"nothing happened within {ENDS_WITHIN_S:.0f} s")
                return
            time.sleep(0.01)

    def _hit(self, process: subprocess.Popen[bytes], victim: str) -> list[psutil.Process]:
        """Kill; return the processes that must be gone soon, none if it was too late."""
        everyone, crew = processes.family(process.pid), processes.workers(process.pid)
        if process.poll() is not None or not everyone:
            return []
        if victim in LIVES_ON:
            server = processes.fork_server(process.pid)
            chosen = self._rng.sample(crew, min(1, len(crew))) if victim == "worker" else [server]
            alive = [p for p in chosen if p is not None]
            for one in alive:
                processes.kill(one.pid)
            return alive
        targets = [process.pid] + ([p.pid for p in crew] if "workers" in victim else [])
        self._rng.shuffle(targets)
        if victim == "process group":
            os.killpg(process.pid, signal.SIGKILL)
        for pid in targets:
            processes.kill(pid)
        return everyone

    def _see_it_end(self, process: subprocess.Popen[bytes], attack: Attack, hit: Sequence[Any]) -> None:
        everyone = processes.family(process.pid)
        if attack.command[0] == "follow" and attack.victim in LIVES_ON:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(ENDS_WITHIN_S) if process.poll() is None else process.poll()
        except subprocess.TimeoutExpired:
            self._complain(f"{attack.name}: it hangs")
            return
        expected = {-signal.SIGKILL, 0} if hit and attack.victim not in LIVES_ON else {0, 1}
        if code not in expected or "Traceback" in self.lake.said.read_text(errors="replace"):
            self._complain(f"{attack.name}: exit code {code}")
        # the next command begins while they may still be there: they must not disturb it
        threading.Thread(target=self._expect_gone, args=(attack, [*hit, *everyone])).start()

    def _expect_gone(self, attack: Attack, gone: list[psutil.Process]) -> None:
        if left := processes.leftovers(gone, LEAVES_WITHIN_S):
            self._complain(f"{attack.name}: {len(left)} processes live on", said=False)

    def _complain(self, line: str, *, said: bool = True) -> None:
        text = " | ".join(self.lake.said.read_text(errors="replace").split("\n")[-12:]) if said else ""
        self.tally.problems.append(f"{line}: {text}"[:2000])
        print(self.tally.problems[-1], file=sys.stderr, flush=True)


@dataclass(slots=True)
class Outcome:
    """What a lake is after all the kills, and one drain that was left alone."""

    messages: int
    rows: int
    quarantined: int
    lost: int
    doubled: int
    wrong: int
    strays: int
    """Files that `verify --prune` deleted."""
    findings: list[Any]
    """Of `verify --deep` after that."""
    problems: list[str]

    @property
    def is_exact(self) -> bool:
        """Whether everything holds."""
        return not (self.lost or self.doubled or self.wrong or self.findings or self.problems)


def judge(world: World, lake: Lake) -> Outcome:
    """Drain what is left, once in peace, and look whether all is as it should be."""
    problems = []
    for _ in range(2):
        code, drained = lake.run("drain", "--workers", "2")
        if code:
            problems.append(f"the drain at the end: exit code {code}: {drained}")
    if drained.get("planned"):
        problems.append(f"a second drain at the end found {drained['planned']} offsets more")
    _, pruned = lake.run("verify", "--prune")
    code, deep = lake.run("verify", "--deep")
    if "findings" not in deep:
        problems.append(f"verify: exit code {code}: {deep}")
    verdict = compare(world.kafka.bootstrap, world.topics, lake.path)
    return Outcome(
        verdict.messages,
        verdict.rows,
        verdict.quarantined,
        verdict.lost,
        verdict.doubled,
        verdict.wrong,
        len(pruned.get("pruned", [])),
        deep.get("findings", []),
        problems + list(verdict.problems),
    )


def torture(world: World, kills: int, count: int = 1, rate: float = RATE) -> dict[str, Any]:
    """Kill so many times, spread over some lakes; return all that is to be known of it."""
    began = time.monotonic()
    with lakes(world, count) as places:
        killers = [Killer(lake, world.seed * 1000 + number) for number, lake in enumerate(places)]
        with world.producing(rate) as producer:
            _stop_at_sigterm(killers)
            threads = [threading.Thread(target=k.kill, args=(-(-kills // count),)) for k in killers]
            for thread in threads:
                thread.start()
            _await(threads, killers, producer, began)
        outcomes = [judge(world, lake) for lake in places]
        found = summary(killers, outcomes) | {"seed": world.seed, "minutes": (time.monotonic() - began) / 60}
        if not found["exact"]:
            print(json.dumps(found), file=sys.stderr)
            raise AssertionError("a lake is not exact")
    return found


def _stop_at_sigterm(killers: Sequence[Killer]) -> None:
    """Kill no more when told to end: what was done is judged, and counts."""

    def stop(*_: object) -> None:
        for killer in killers:
            killer.stopping.set()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _await(
    threads: Sequence[threading.Thread],
    killers: Sequence[Killer],
    producer: subprocess.Popen[bytes],
    began: float,
) -> None:
    """Wait for the killers, tell how far they are, and stop them if there is nothing to drain any more."""
    while any(thread.is_alive() for thread in threads):
        threads[0].join(TELL_EVERY_S)
        _progress(killers, began)
        if producer.poll() is not None:
            for killer in killers:
                killer.stopping.set()


def _progress(killers: Sequence[Killer], began: float) -> None:
    kills = sum(k.tally.kills.total() for k in killers)
    problems = sum(len(k.tally.problems) for k in killers)
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s: {kills} kills, {problems} problems", file=sys.stderr, flush=True)


def summary(killers: Sequence[Killer], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the sums."""
    kinds = sum((k.tally.kills for k in killers), Counter())
    recoveries = sorted(s for k in killers for s in k.tally.recoveries_s)
    problems = [p for k in killers for p in k.tally.problems]
    totals = ("messages", "rows", "quarantined", "lost", "doubled", "wrong", "strays")
    return {
        "kills": kinds.total(),
        "by_kind": dict(kinds.most_common()),
        "too_late": sum(k.tally.too_late for k in killers),
        **{name: sum(getattr(o, name) for o in outcomes) for name in totals},
        "recovery_s": results.distribution(recoveries),
        "recovered_in_time": sum(s < RECOVERED_WITHIN_S for s in recoveries),
        "problems": problems,
        "outcomes": [asdict(o) for o in outcomes],
        "exact": all(o.is_exact for o in outcomes),
    }


def main() -> None:
    """Run it, print the table and one line of JSON, and keep the latter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lakes", type=int, default=1, help="at the same time")
    parser.add_argument("--rate", type=float, default=RATE, help="messages a second")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    given = parser.parse_args()
    with torture_world(given.seed) as world:
        found = torture(world, given.kills, given.lakes, given.rate)
    if not given.json:
        results.show("kill -9", found["by_kind"], found)
    print(json.dumps(found))
    results.save("kills", found)
    sys.exit(0 if found["exact"] and not found["problems"] else 1)


if __name__ == "__main__":
    main()
