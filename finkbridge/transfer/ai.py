"""A transfer of an AI topic: alerts of its feed, joined with the predictions that the topic holds.

    1 look      the predictions' topic, the alerts' topic and its schema can be had
    2 alerts    the whole feed into the transfer's state, by the drain's engine
    3 follow    predictions, as they come, until each alert has one of each model, or none came for long
    4 join      alerts that have predictions, in one round, which is there whole or not at all
    5 deliver   the round's files are moved to the output folder
    6 prove     alerts = rows in the files, or how many have no prediction yet

Into the lake, both topics are drained as they are: its view ``predictions`` makes 4 and 5 needless.

A crash between any two of these loses and doubles nothing: the same command goes on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from finkbridge import layout
from finkbridge.avro.predictions import AI, FEED
from finkbridge.broker import Broker
from finkbridge.drain import Bridge, open_bridge
from finkbridge.errors import UnknownTopicError
from finkbridge.execution import Listener, Silent
from finkbridge.registry import lookups_of
from finkbridge.settings import Settings
from finkbridge.transfer import outdir as output
from finkbridge.transfer.engine import Result, open_transfer, run_until_all
from finkbridge.transfer.joined import Joined
from finkbridge.transfer.known import InLake, InState, Known
from finkbridge.transfer.look import Sample, look, refuse_partition
from finkbridge.transfer.proof import (
    Counted,
    Key,
    Proof,
    count_folder,
    count_lake,
    marks_of,
    prove,
)
from finkbridge.transfer.request import Request
from finkbridge.values import Export

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""Between two looks for new predictions, while the AI is at work."""


@dataclass(frozen=True, slots=True)
class Job:
    """One transfer, and what comes of it."""

    settings: Settings
    request: Request
    feed: str
    """Topic of the alerts."""
    listener: Listener
    stopping: threading.Event
    result: Result

    @property
    def alerts(self) -> Key:
        """Cluster and topic of the alerts."""
        return self.request.cluster, self.feed

    @property
    def predictions(self) -> Key:
        """Cluster and topic of the predictions."""
        return self.request.cluster, self.request.topic


def transfer_joined(
    settings: Settings, request: Request, listener: Listener, stop: threading.Event
) -> Result:
    """Transfer an AI topic; see `finkbridge.transfer.run.transfer`."""
    feed, sample = _look(settings, request)  # 1
    job = Job(settings, request, feed, listener, stop, Result(sample=sample))
    if request.outdir is None:
        _into_lake(job)
    else:
        _into_folder(job, request.outdir)
    return job.result


def _into_folder(job: Job, folder: Path) -> None:
    settings, request, result = job.settings, job.request, job.result
    if request.restart and (old := output.set_aside(settings.lake, folder, request.topic)):
        result.notes.append(f"begun anew; what was known of the earlier transfer is in {old}")
    exports = {job.feed: Export("parquet"), request.topic: Export("predictions")}
    with open_transfer(settings, request, exports) as bridge:
        known = InState(bridge.coordinator.ledger, job.feed, request.topic)
        joined = Joined(settings.lake, request.topic)
        output.refuse_strangers(folder, request.topic, [file.path for file in joined.files()])
        joined.deliver(folder)  # 5, of a dead run
        strange = 0
        if _drain(bridge, job, known):  # 2, 3
            newest = known.newest()
            joined.join(known.alert_files(), newest, request.partition)  # 4
            joined.deliver(folder)  # 5
            _note_late(joined, newest, result)
            strange = newest.join(known.alerts(), on="source_id", how="anti").height
        proof = _prove(bridge, job.alerts, count_folder(joined.files(), folder), request.limit)  # 6
        _note_strange(strange, proof, result)
        if (left := proof.account.rows - proof.counted.rows) > 0 and not proof.counted.wrong:
            proof.problems = [p for p in proof.problems if not p.startswith("the files have")]
            proof.problems.append(_waiting(left))
        spooled = count_folder(known.prediction_rows(), settings.lake / layout.LANDED)
        result.proofs += [proof, _prove(bridge, job.predictions, spooled, None)]


def _into_lake(job: Job) -> None:
    with open_bridge(job.settings, [job.feed, job.request.topic]) as bridge:
        ledger = bridge.coordinator.ledger
        known = InLake(ledger, job.alerts, job.predictions)
        is_whole = _drain(bridge, job, known)  # 2, 3
        alerts = _prove(bridge, job.alerts, count_lake(ledger, job.alerts), job.request.limit)  # 6
        predictions = _prove(bridge, job.predictions, count_lake(ledger, job.predictions), None)
        if is_whole:
            there, newest = known.alerts(), known.newest()
            _note_strange(newest.join(there, on="source_id", how="anti").height, alerts, job.result)
            if left := there.join(newest, on="source_id", how="anti").height:
                alerts.problems.append(_waiting(left))
        job.result.proofs += [alerts, predictions]


def _waiting(alerts: int) -> str:
    return f"{alerts:,} alerts have no prediction yet: run the same command again later"


def _drain(bridge: Bridge, job: Job, known: Known) -> bool:
    """Fetch the alerts, then predictions as they come; return whether nothing ended it early."""
    bridge.stopping = job.stopping
    run_until_all(bridge, job.alerts, job.request.limit, job.listener, job.result)
    if not job.result.problems and not job.stopping.is_set():
        _follow(bridge, job, known)
        return True
    return False


def _look(settings: Settings, request: Request) -> tuple[str, Sample | None]:
    cluster = settings.cluster(request.cluster)
    with Broker(request.cluster, cluster, timeout_s=settings.broker_timeout_s) as broker:
        broker.match([request.topic])
        feed = _feed_of(broker, request)
        lookups = lookups_of(cluster, settings.decode.schema_folder)
        sample = look(broker, feed, settings.decode.schema_file, lookups)
    if sample is not None and request.partition:
        refuse_partition(sample, feed, request.partition)
    return feed, sample


def _feed_of(broker: Broker, request: Request) -> str:
    """Return the topic that has the alerts: the AI's own feed, or the transfer that it was fed by."""
    suffix = request.topic.removeprefix(AI)
    names = [f"{FEED}{suffix}", f"ftransfer_{request.cluster}_{suffix}"]
    there = broker.topics()
    for name in names:
        if name in there:
            return name
    raise UnknownTopicError(
        f"the alerts of {request.topic} are not at the broker: neither {names[0]} nor {names[1]} is there; "
        "submit the job again"
    )


def _follow(bridge: Bridge, job: Job, known: Known) -> None:
    """Take predictions as they come, until each alert has one of each model, or the AI has ended."""
    topic, most_s, idle_s, alerts = job.request.topic, job.request.idle_s, 0.0, known.alerts()
    while True:
        came = run_until_all(bridge, job.predictions, None, Silent(), job.result)
        if came or not idle_s:
            newest = known.newest()
            told = newest.join(alerts, on="source_id", how="semi").height
            wanted = alerts.height * max(1, newest["model"].n_unique())
        idle_s = 0.0 if came else idle_s
        if job.result.problems or told >= wanted or idle_s >= most_s:
            return
        if not idle_s:
            most = f"for up to {most_s:g} s" if most_s else "no longer"
            log.warning("%s has %d of %d predictions: waiting %s for the next", topic, told, wanted, most)
        pause_s = min(LOOK_EVERY_S, most_s)
        idle_s += pause_s
        if job.stopping.wait(pause_s):
            return


def _note_late(joined: Joined, newest: pl.DataFrame, result: Result) -> None:
    pairs = joined.pairs()
    late = newest.join(pairs, on=pairs.columns, how="anti", nulls_equal=True)
    late = late.join(pairs, on="source_id", how="semi")
    if late.height:
        result.notes.append(
            f"warning: {late.height:,} predictions came when their alerts were written already, and nothing "
            "is written over: to have them, transfer to another -outdir"
        )


def _note_strange(strange: int, feed: Proof, result: Result) -> None:
    """Tell of predictions without alerts, where all alerts of the feed are there."""
    if strange and feed.limit is None and not feed.waiting and not feed.account.quarantined:
        result.notes.append(f"warning: {strange:,} predictions are of alerts that the feed does not have")


def _prove(bridge: Bridge, key: Key, counted: Counted, limit: int | None) -> Proof:
    return prove(bridge.coordinator.ledger, key, marks_of(bridge.brokers, key), counted, limit)
