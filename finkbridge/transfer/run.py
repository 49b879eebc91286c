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
from pathlib import Path

from finkbridge import later
from finkbridge.broker import Broker
from finkbridge.drain import open_bridge
from finkbridge.execution import Listener
from finkbridge.ledger import Ledger
from finkbridge.registry import lookups_of
from finkbridge.settings import Settings
from finkbridge.transfer import outdir as output
from finkbridge.transfer.bridge import settings_of
from finkbridge.transfer.engine import Delivering, Result, open_transfer, run_until_all
from finkbridge.transfer.look import Sample, look, refuse_partition
from finkbridge.transfer.proof import Key, count_folder, count_lake, marks_of, prove
from finkbridge.transfer.request import Request


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
    mine, stop = settings_of(settings, request), stopping or threading.Event()
    if request.is_ai:
        joined: Result = later.call("finkbridge.transfer.ai:transfer_joined", mine, request, listener, stop)
        return joined
    result = Result(sample=_look(mine, request))  # 1
    if request.outdir is None:
        _into_lake(mine, request, listener, stop, result)
    else:
        _into_folder(mine, request, request.outdir, listener, stop, result)
    return result


def _into_folder(
    settings: Settings,
    request: Request,
    folder: Path,
    listener: Listener,
    stop: threading.Event,
    result: Result,
) -> None:
    topic, key = request.topic, (request.cluster, request.topic)
    if request.restart and (old := output.set_aside(settings.lake, folder, topic)):
        result.notes.append(f"begun anew; what was known of the earlier transfer is in {old}")
    with open_transfer(settings, request, {topic: request.export}) as bridge:
        bridge.stopping = stop
        ledger = bridge.coordinator.ledger
        paths = [row.path for row in ledger.alive_files("export")]
        output.refuse_strangers(folder, topic, paths)
        output.deliver_landed(settings.lake, folder, paths)  # 3, of a dead run
        run_until_all(bridge, key, request.limit, Delivering(listener, settings.lake, folder), result)  # 2-4
        _tell_lives(ledger, key, result)
        counted = count_folder(ledger.alive_files("export"), folder)
        result.proofs.append(prove(ledger, key, marks_of(bridge.brokers, key), counted, request.limit))  # 5


def _into_lake(
    settings: Settings, request: Request, listener: Listener, stop: threading.Event, result: Result
) -> None:
    key = request.cluster, request.topic
    with open_bridge(settings, [request.topic]) as bridge:
        bridge.stopping = stop
        run_until_all(bridge, key, request.limit, listener, result)
        ledger = bridge.coordinator.ledger
        counted = count_lake(ledger, key)
        result.proofs.append(prove(ledger, key, marks_of(bridge.brokers, key), counted, request.limit))


def _tell_lives(ledger: Ledger, key: Key, result: Result) -> None:
    """Tell of a topic that was made anew since its transfer began: its folder has what both had."""
    known = ledger.generations().get(key)
    if known is not None and (lives := known.source.generation) > 1:
        result.notes.append(
            f"{key[1]} was made anew or cut since this transfer began, and the folder has the messages of "
            f"its {lives} lives: use another -outdir or --restart_from_beginning for the last one alone"
        )


def _look(settings: Settings, request: Request) -> Sample | None:
    cluster = settings.cluster(request.cluster)
    with Broker(request.cluster, cluster, timeout_s=settings.broker_timeout_s) as broker:
        lookups = lookups_of(cluster, settings.decode.schema_folder)
        sample = look(broker, request.topic, settings.decode.schema_file, lookups)
    if sample is not None and request.partition:
        refuse_partition(sample, request.topic, request.partition)
    return sample
