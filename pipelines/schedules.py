"""When to drain: every few minutes, if there is something."""

import logging
import time

import dagster as dg

from finkbridge.errors import FinkbridgeError, SettingsError
from finkbridge.lag import Lag, measure_lag
from finkbridge.settings import Settings, load_settings
from pipelines.runs import DRAIN_JOB, WAITING, WORKING, lake_runs, reap
from pipelines.specs import LAKE_KEYS

drain_job = dg.define_asset_job(
    DRAIN_JOB,
    selection=dg.AssetSelection.assets(*LAKE_KEYS),
    description="Drain everything that is at the brokers now into the lake. By hand: name topics and "
    "patterns in `topics` (none: those of the settings), and a limit in `max_messages`.",
    config={"ops": {"drain_topics": {"config": {"topics": [], "max_messages": None}}}},
    executor_def=dg.in_process_executor,
)


def drain_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule that drains when there is something to drain."""

    @dg.schedule(
        name="drain_schedule",
        job=drain_job,
        cron_schedule=settings.schedule.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Drains the topics of the settings when there is something to drain, and fails runs "
        "whose process is gone, so that they do not hold the lake.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        for run_id in reap(context.instance):
            context.log.warning(f"run {run_id} is dead and held the lake: it is failed now")
        active = sum(1 for _ in lake_runs(context.instance, [*WAITING, *WORKING]))
        if active:
            return dg.SkipReason(f"{active} run that writes the lake is not over")
        return decide(context.log)

    return schedule


def decide(log: logging.Logger) -> dg.RunRequest | dg.SkipReason:
    """Look at the brokers, and say whether to drain.

    Raises
    ------
    dg.Failure
        The look fails, or there is nothing to drain and a cluster is down: the tick fails, and says why.
    """
    try:
        settings = load_settings().settings
        lag = measure_lag(settings)
    except SettingsError as error:
        return dg.SkipReason(str(error))
    except FinkbridgeError as error:
        raise dg.Failure(str(error)) from None
    for warning in lag.warnings:
        log.warning(warning)
    if lag.offsets or lag.pending:
        return dg.RunRequest(tags={"finkbridge/lag": str(lag.offsets)})
    if lag.is_look_due(time.time()):
        return dg.RunRequest(tags={"finkbridge/lag": "0"})
    if lag.problems:
        raise dg.Failure("; ".join(lag.problems))
    return dg.SkipReason(_nothing_new(lag))


def _nothing_new(lag: Lag) -> str:
    if not lag.topics:
        return "no topic is there yet that the settings name"
    return f"nothing new in {len(lag.topics)} topic{'s' if len(lag.topics) > 1 else ''}"
