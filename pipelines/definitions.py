"""Everything that Dagster loads. Contacts no broker, and needs neither settings nor a lake."""

import dagster as dg

from finkbridge.settings import Settings, load_settings
from pipelines.assets import drain_asset, lake_catalog
from pipelines.maintenance import maintenance_job, maintenance_schedule
from pipelines.schedules import drain_job, drain_schedule
from pipelines.specs import deliveries_by_night
from pipelines.topics import topic_specs


def definitions(settings: Settings) -> dg.Definitions:
    """Return the definitions for settings; runs and ticks read their settings themselves."""
    topics = topic_specs(settings)
    return dg.Definitions(
        assets=[*topics, drain_asset(topics), deliveries_by_night(), lake_catalog],
        jobs=[drain_job, maintenance_job],
        schedules=[drain_schedule(settings), maintenance_schedule],
        # a process a step would cost 2.5 s each, and the library has worker processes of its own
        executor=dg.in_process_executor,
    )


defs = definitions(load_settings().settings)
