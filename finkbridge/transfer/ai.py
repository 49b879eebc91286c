"""A transfer of an AI topic: alerts of its feed, joined with the predictions that the topic holds.

    1 look      the predictions' topic, the alerts' topic and its schema can be had
    2 alerts    the whole feed into the transfer's state, by the drain's engine
    3 follow    predictions, as they come, until each alert has one of each model, or none came for long
    4 join      alerts that have predictions, in one round, which is there whole or not at all
    5 deliver   the round's files are moved to the output folder
    6 prove     alerts = rows in the files, or how many have no prediction yet

A crash between any two of these loses and doubles nothing: the same command goes on.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import polars as pl

from finkbridge import layout
from finkbridge.broker import Broker
from finkbridge.errors import UnknownTopicError
from finkbridge.execution import Listener, Silent
from finkbridge.layout import SegmentName
from finkbridge.ledger import Ledger
from finkbridge.registry import lookups_of
from finkbridge.settings import Settings
from finkbridge.transfer import outdir as output
from finkbridge.transfer.bridge import TransferBridge
from finkbridge.transfer.engine import Result, open_transfer, run_until_all
from finkbridge.transfer.joined import Joined, known_by, newest_predictions
from finkbridge.transfer.look import Sample, look, refuse_partition
from finkbridge.transfer.proof import count_folder, marks_of, prove
from finkbridge.transfer.request import AI, FEED, Request
from finkbridge.values import Export

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""Between two looks for new predictions, while the AI is at work."""


def transfer_joined(
    settings: Settings, request: Request, listener: Listener, stop: threading.Event
) -> Result:
    """Transfer an AI topic; see `finkbridge.transfer.run.transfer`."""
    folder = request.outdir or Path()  # `Request.check` has seen to it
    feed, sample = _look(settings, request)  # 1
    result = Result(sample=sample)
    if request.restart and (old := output.set_aside(settings.lake, folder, request.topic)):
        result.notes.append(f"begun anew; what was known of the earlier transfer is in {old}")
    exports = {feed: Export("parquet"), request.topic: Export("predictions")}
    with open_transfer(settings, request, exports) as bridge:
        bridge.stopping = stop
        joined = Joined(settings.lake, request.topic)
        output.refuse_strangers(folder, request.topic, [file.path for file in joined.files()])
        joined.deliver(folder)  # 5, of a dead run
        run_until_all(bridge, (request.cluster, feed), request.limit, listener, result)  # 2
        if not result.problems and not stop.is_set():
            _follow(bridge, request, feed, result)  # 3
            ledger = bridge.coordinator.ledger
            newest = newest_predictions(_landed(ledger, request.topic))
            joined.join(_landed(ledger, feed), newest, request.partition)  # 4
            joined.deliver(folder)  # 5
            _note_late(joined, newest, result)
        _prove(bridge, request, feed, joined, result)  # 6
    return result


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


def _follow(bridge: TransferBridge, request: Request, feed: str, result: Result) -> None:
    """Take predictions as they come, until each alert has one of each model, or the AI has ended."""
    ledger, key, idle_s = bridge.coordinator.ledger, (request.cluster, request.topic), 0.0
    alerts = known_by(_landed(ledger, feed))
    while True:
        came = run_until_all(bridge, key, None, Silent(), result)
        if came or not idle_s:
            newest = newest_predictions(_landed(ledger, request.topic))
            told = newest.join(alerts, on="source_id", how="semi").height
            wanted = alerts.height * max(1, newest["model"].n_unique())
        idle_s = 0.0 if came else idle_s
        if result.problems or told >= wanted or idle_s >= request.idle_s:
            return
        if not idle_s:
            most = f"for up to {request.idle_s:g} s" if request.idle_s else "no longer"
            log.warning("%s has %d of %d predictions: waiting %s for the next", key[1], told, wanted, most)
        pause_s = min(LOOK_EVERY_S, request.idle_s)
        idle_s += pause_s
        if bridge.stopping.wait(pause_s):
            return


def _note_late(joined: Joined, newest: pl.DataFrame, result: Result) -> None:
    pairs = joined.pairs()
    late = newest.join(pairs, on=["source_id", "model"], how="anti").join(pairs, on="source_id", how="semi")
    if late.height:
        result.notes.append(
            f"warning: {late.height:,} predictions came when their alerts were written already, and nothing "
            "is written over: to have them, transfer to another -outdir"
        )


def _prove(bridge: TransferBridge, request: Request, feed: str, joined: Joined, result: Result) -> None:
    ledger, folder = bridge.coordinator.ledger, request.outdir or Path()
    key = request.cluster, feed
    counted = count_folder(joined.files(), folder)
    proof = prove(ledger, key, marks_of(bridge.brokers, key), counted, request.limit)
    if (left := proof.account.rows - counted.rows) > 0 and not counted.wrong:
        proof.problems = [p for p in proof.problems if not p.startswith("the files have")]
        proof.problems.append(f"{left:,} alerts have no prediction yet: run the same command again later")
    result.proofs.append(proof)
    predictions = request.cluster, request.topic
    spooled = count_folder(_spooled(ledger, request.topic), ledger.lake / layout.LANDED)
    result.proofs.append(prove(ledger, predictions, marks_of(bridge.brokers, predictions), spooled, None))


def _landed(ledger: Ledger, topic: str) -> list[Path]:
    """Return the files of a topic in the transfer's state."""
    return [ledger.lake / layout.landed_path(row.path) for row in _spooled(ledger, topic)]


def _spooled(ledger: Ledger, topic: str) -> list[Any]:
    wanted = layout.short_topic(topic)
    return [row for row in ledger.alive_files("export") if SegmentName.parse(row.path).topic == wanted]
