"""The engine of `finkbridge.drain` over a transfer's own ledger: other files, and no catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from finkbridge.drain import Bridge
from finkbridge.settings import MergeSettings, Settings
from finkbridge.transfer.request import Request
from finkbridge.values import Export, SegmentPlan
from finkbridge.workers import Task


class TransferBridge(Bridge):
    """Lands messages as files of a plain folder. Made by `finkbridge.drain.open_as`."""

    exports: Mapping[str, Export] = {}
    """How each topic's messages are written."""

    def publish(self) -> list[str]:
        """Do nothing: a folder has no catalog, and its files are never merged."""
        return []

    def _publish_if_stale(self) -> None:
        """Do nothing."""

    def _expect_to_publish(self) -> None:
        """Do nothing."""

    def _task(self, plan: SegmentPlan, known_schemas: Mapping[str, int]) -> Task:
        return replace(super()._task(plan, known_schemas), export=self.exports[plan.source.topic])


def settings_of(settings: Settings, request: Request) -> Settings:
    """Return the settings with which the engine works for a transfer."""
    drain = settings.drain.model_copy(update={"start": "earliest", "max_messages": None, "max_bytes": None})
    cluster = {request.cluster: settings.cluster(request.cluster)}
    changed: dict[str, object] = {"drain": drain, "clusters": cluster}
    if request.outdir is not None:
        changed |= {"lake": request.state_folder, "ledger": None, "merge": MergeSettings(enabled=False)}
    return settings.model_copy(update=changed)
