"""The one way through the house, for one process that coordinates a lake.

    1 plan       what brokers and ledger say -> offset ranges, written down before anything is fetched
    2-5          fetch, archive, decode, land: `finkbridge.land`, on any worker
    6 commit     one ledger transaction a plan, each partition's in order; then the group's offsets
    7 publish    the catalog, over exactly the files that the ledger lists; then small files merged

A crash between any two of these loses nothing: what is not committed never happened, and the plan, still
pending, is finished first by the next run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from finkbridge import backlog, later, sightings
from finkbridge.access import plain
from finkbridge.backlog import Search
from finkbridge.broker import Broker
from finkbridge.budget import SchemaBudget
from finkbridge.disk import clear_scratch
from finkbridge.errors import BrokerError, LakeError, NoLakeError
from finkbridge.execution import Crew, Execution, Listener, Silent
from finkbridge.ledger import Coordinator, Ledger, coordinate, seen
from finkbridge.ledger.adopt import has_archive, refuse_if_lost, refuse_to_begin
from finkbridge.merging import Merging
from finkbridge.planning import Planner
from finkbridge.report import DrainReport
from finkbridge.retire import delete_replaced, delete_unfinished_merges, skip_used_numbers
from finkbridge.settings import Settings
from finkbridge.staffing import worker_count
from finkbridge.values import SegmentPlan
from finkbridge.workers import Task
from finkbridge.workforce import Workforce

Wanted = Mapping[str, Sequence[str]]
"""Topics and patterns, by cluster."""

B = TypeVar("B", bound="Bridge")

PUBLISH_EVERY_S = 30.0
"""How often a long run publishes the catalog, so that readers see it grow, where nobody says otherwise."""


def drain(settings: Settings, names: Sequence[str] = (), listener: Listener | None = None) -> DrainReport:
    """Drain everything that is at the brokers now into the lake, and end.

    Parameters
    ----------
    settings
        Lake, clusters, limits.
    names
        Topics and patterns; none: those of the settings.
    listener
        Told of progress.

    Returns
    -------
    DrainReport
        Per topic, what became of every planned offset; `succeeded` tells whether all of it is in the lake.

    Raises
    ------
    LakeError
        Another coordinator has the lake, or it cannot be written.
    SettingsError
        Nothing to drain is named.
    BrokerError
        There is no lake yet, and the brokers show nothing to begin one with.
    """
    with open_bridge(settings, names) as bridge:
        return bridge.run(names, listener or Silent())


def open_bridge(settings: Settings, first: Sequence[str] | None = None) -> AbstractContextManager[Bridge]:
    """Hold the lake and the connections to the clusters, for one run or for many.

    Parameters
    ----------
    settings
        Lake, clusters, limits.
    first
        Topics and patterns that a lake is begun with, as `drain` takes them: where none of them can be had,
        none is made. None: a lake is made, whatever the brokers say.
    """
    return open_as(Bridge, settings, first)


@contextmanager
def open_as(kind: type[B], settings: Settings, first: Sequence[str] | None = None) -> Iterator[B]:
    """Do as `open_bridge`, for a kind of bridge that lands messages in another way."""
    settings.require_clusters()
    file = settings.decode.schema_file
    schema_override = later.call("finkbridge.avro.schemas:read_schema", file) if file else None
    with ExitStack() as stack:
        timeout_s = settings.broker_timeout_s
        brokers = {
            name: stack.enter_context(Broker(name, cluster, timeout_s=timeout_s))
            for name, cluster in settings.clusters.items()
        }
        if first is not None and _is_new(settings):
            _refuse_in_vain(brokers, settings.wanted(first))
        refuse_to_begin(settings.lake, settings.ledger_url)
        ledger = stack.enter_context(Ledger(settings.lake, settings.ledger_url, create=True))
        coordinator = stack.enter_context(coordinate(ledger))
        refuse_if_lost(ledger)
        skip_used_numbers(coordinator)
        clear_scratch(settings.lake)
        delete_unfinished_merges(coordinator)
        bridge = kind(settings, coordinator, brokers, schema_override)
        stack.callback(bridge.close)
        yield bridge


class Bridge:
    """One coordinator with its brokers and workers. Made by `open_bridge`."""

    def __init__(
        self,
        settings: Settings,
        coordinator: Coordinator,
        brokers: Mapping[str, Broker],
        schema_override: bytes | None = None,
    ) -> None:
        self.settings = settings
        self.coordinator = coordinator
        self.brokers = brokers
        self.stopping = threading.Event()
        """Set it to end a run early: what is not committed is as if never fetched."""
        self._workers: Workforce | None = None
        self._is_careful = coordinator.is_after_death()
        """Work that a dead run left may have killed it: it is not done in this process."""
        self.publish_every_s = PUBLISH_EVERY_S
        self._published = time.monotonic()
        self.merging = Merging(coordinator, settings.merge)
        self.is_lasting = False
        """Whether many runs follow: workers wait for the next one, and where there are none, merges are made
        beside what is drained. Else workers end before the catalog takes memory too."""
        self._refused: list[str] = []
        """What was wrong with views when the catalog was last published."""
        self._schema_override = schema_override

    def close(self) -> None:
        """End the workers, and what is merged aside."""
        try:
            self.merging.close()
        finally:
            self._close_workers()

    def _close_workers(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def run(self, names: Sequence[str] = (), listener: Listener | None = None) -> DrainReport:
        """Drain what is there now, once."""
        return self.run_on(self.settings.wanted(names), listener or Silent())

    def run_on(
        self, wanted: Wanted, listener: Listener, kind: str = "drain", search: Search | None = None
    ) -> DrainReport:
        """Drain what is there now of some clusters, once; the others are left alone, they may be down.

        Parameters
        ----------
        wanted
            Topics and patterns, by cluster.
        listener
            Told of progress.
        kind
            How the ledger names the run.
        search
            How the topics were found that are wanted; None: they are looked for now.
        """
        began = time.monotonic()
        report = DrainReport()
        planner = Planner(self.coordinator, self.brokers, self.settings, report)
        plans = self._plan(wanted, planner, report, search)  # 1
        if plans or report.total("expired") or report.total("salvaged"):
            report.run = self.coordinator.start_run(kind)
        try:
            if plans:
                self._execute(plans, planner, report, listener)  # 2-6
                if not self.is_lasting:
                    self._close_workers()
            report.unmerged = self.publish()  # 7
            report.problems += report.unmerged
        except BaseException as error:
            report.problems.append(str(error) or type(error).__name__)
            with suppress(LakeError):  # the first error tells more
                self._end(report, began)
            raise
        self._end(report, began)
        return report

    def _end(self, report: DrainReport, began: float) -> None:
        report.seconds = time.monotonic() - began
        report.commit = self.coordinator.ledger.last_commit()
        if report.run:
            unfinished = "stopped" if self.stopping.is_set() else "failed"
            state = "succeeded" if report.succeeded else unfinished
            self.coordinator.end_run(report.run, state, report.as_dict())

    def publish(self) -> list[str]:
        """Publish the catalog if the ledger is newer, and merge small files where there are many.

        Publishing comes first: what has landed is seen, whatever becomes of merging.

        Returns
        -------
        list
            A line for each group of files that could not be merged, which stay as they are, and for each view
            that DuckDB refuses, which is empty.
        """
        self._publish_if_stale()
        problems = [] if self.stopping.is_set() else self._merge()
        delete_replaced(self.coordinator, self.settings.merge.grace_s)
        self._publish_if_stale()
        return problems + self._refused

    def _merge(self) -> list[str]:
        # beside workers, a merge would take more memory than is allowed
        return self.merging.go_on(aside=self.is_lasting and not self._has_workers())

    def _has_workers(self) -> bool:
        return self._workers is not None and self._workers.count > 0

    def _publish_if_stale(self) -> None:
        with self.coordinator.ledger.reading() as connection:
            is_stale = seen.is_stale(connection)
        if is_stale or not self.coordinator.is_published():
            self._refused = later.call("finkbridge.catalog:publish", self.coordinator, self.settings)
        self._published = time.monotonic()

    def _execute(
        self, plans: Sequence[SegmentPlan], planner: Planner, report: DrainReport, listener: Listener
    ) -> None:
        listener.planned(report.total("planned"))
        workers = self._crew(sum(planner.estimated_bytes(plan) for plan in plans))
        decode = self.settings.decode
        budget = SchemaBudget(self.coordinator.ledger, decode.max_schemas, decode.max_columns)

        def task(plan: SegmentPlan) -> Task:
            return replace(self._task(plan, budget.tell(plan)), run=report.run or 0)

        crew = Crew(workers, task, listener, self.stopping, self._publish_now_and_then, budget)
        execution = Execution(self.coordinator, self.brokers, planner, report, crew)
        execution.execute(plans)
        self._is_careful = False
        if execution.lost_workers:
            self._clear_after_deaths()

    def _clear_after_deaths(self) -> None:
        """Remove what workers that died left aside, once the others of their pool are surely gone."""
        self.close()
        self.coordinator.check()
        clear_scratch(self.settings.lake)

    def _publish_now_and_then(self) -> None:
        if time.monotonic() - self._published > self.publish_every_s:
            self._publish_if_stale()

    def _crew(self, backlog_bytes: float) -> Workforce:
        """Return workers enough for so much work, the ones of the last run if they are enough."""
        count = max(worker_count(self.settings, backlog_bytes), self._is_careful)
        if count:
            self.merging.close()  # see `_merge`
        has_too_many = self.is_lasting and count == 0 and self._has_workers()
        if self._workers is None or self._workers.count < count or has_too_many:
            self._close_workers()
            self._workers = Workforce(count)
            if count:
                self._expect_to_publish()
        return self._workers

    def _expect_to_publish(self) -> None:
        """Load what publishing needs while the workers fetch: neither they nor the end should wait for it."""

        def load() -> None:
            with suppress(Exception):  # publishing meets it again, and tells
                later.load("finkbridge.catalog")

        threading.Thread(target=load, daemon=True).start()

    def _task(self, plan: SegmentPlan, known_schemas: Mapping[str, int]) -> Task:
        settings = self.settings
        return Task(
            plan,
            settings.lake.absolute(),
            plain(settings.clusters[plan.source.cluster]),
            settings.decode.engine,
            self._schema_override,
            settings.broker_timeout_s,
            settings.worker_timeout_s,
            settings.decode.max_schemas,
            settings.decode.max_columns,
            known_schemas,
            settings.decode.schema_folder and settings.decode.schema_folder.absolute(),
        )

    def _plan(
        self, wanted: Wanted, planner: Planner, report: DrainReport, search: Search | None
    ) -> list[SegmentPlan]:
        pending = planner.settler.pending()
        left = {c: [topic for cluster, topic in pending if cluster == c] for c in wanted}
        look = backlog.look(self.brokers, wanted)
        seen = {(t.cluster, t.topic) for t in look.topics} | look.untold  # a problem has said why
        rest = {
            c: sorted(topic for topic in {*topics} if (c, topic) not in seen)
            for c, topics in left.items()
            if c not in look.silent
        }
        older = backlog.look(self.brokers, rest)
        unknown = [str(error) for error in look.nowhere.values()]
        report.problems += dict.fromkeys([*look.problems, *older.problems, *unknown])
        for cluster, topic in pending:
            if (cluster, topic) in older.absent:
                planner.settler.close_deleted((cluster, topic), pending[cluster, topic])
        asked = [(t.cluster, t.topic) for t in look.topics]
        search = search or look.search
        search = replace(search, untold=search.untold | look.untold)
        whole = replace(look, topics=look.topics + older.topics, wanted=search.names)
        plans = planner.plan(whole, asked, pending)
        sightings.note(self.coordinator, whole, search, planner.generations, report.topics, self.brokers)
        for key in sightings.lost(self.coordinator, whole, planner.generations, self.brokers):
            planner.settler.give_up_deleted(key)
        return plans


def _is_new(settings: Settings) -> bool:
    if has_archive(settings.lake):
        return False  # its ledger is lost, which is told before anything else
    try:
        Ledger(settings.lake, settings.ledger_url).close()
    except NoLakeError:
        return True
    return False


def _refuse_in_vain(brokers: Mapping[str, Broker], wanted: Wanted) -> None:
    """Raise what is wrong if nothing can be drained: a wrong password leaves no empty lake behind."""
    look = backlog.look(brokers, wanted)
    problems = dict.fromkeys([*look.problems, *map(str, look.nowhere.values())])
    if problems and not look.topics:
        raise BrokerError("; ".join(problems))
