"""Asset checks: what every run proves, and says so."""

import time
from collections.abc import Iterator

import dagster as dg

from finkbridge.blockers import Rules
from finkbridge.nights import verdicts
from finkbridge.report import DrainReport
from finkbridge.settings import Settings
from pipelines import metadata
from pipelines.contents import open_ledger

RECONCILED = dg.AssetCheckSpec(
    "counts_reconcile",
    asset="deliveries",
    description="Every planned offset is a row, quarantined, or a hole that a second look confirmed. What is "
    "not accounted for is not committed, and planned again by the next run.",
)
NOTHING_QUARANTINED = dg.AssetCheckSpec(
    "nothing_quarantined",
    asset="deliveries",
    description="Every message could be decoded. Those that cannot are kept whole, with the reason: "
    "`SELECT * FROM quarantine`.",
)
NO_GAP = dg.AssetCheckSpec(
    "no_gap",
    asset="raw_archive",
    description="No message expired at the broker before it was drained. Lost ranges: `SELECT * FROM gaps`.",
)
NIGHTS_COMPLETE = dg.AssetCheckSpec(
    "nights_complete",
    asset="deliveries",
    description="Of the newest nights that are over, nothing that can hold their alerts is left: every "
    "partition was drained up to an end that was seen after the night, and no gap and no quarantined message "
    "is of its time. In full: `finkbridge certificate NIGHT`.",
)
CHECKS = (RECONCILED, NO_GAP, NOTHING_QUARANTINED, NIGHTS_COMPLETE)

NEWEST_NIGHTS = 14
"""Of both surveys, as many as are looked at: a week."""


def results(report: DrainReport) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of every check on one run."""
    names = ("planned", "rows", "quarantined", "holes")
    counts = {name: report.total(name) for name in names}
    missing = counts["planned"] - counts["rows"] - counts["quarantined"] - counts["holes"]
    reconciled = all(topic.reconciled for topic in report.topics.values())
    yield _result(RECONCILED, passed=reconciled, numbers={**counts, "unaccounted": missing})
    expired = report.total("expired")
    yield _result(NO_GAP, passed=expired == 0, numbers={"expired": expired})
    quarantined = counts["quarantined"]
    yield _result(
        NOTHING_QUARANTINED,
        passed=quarantined == 0,
        numbers={"quarantined": quarantined},
        severity=dg.AssetCheckSeverity.WARN,
    )


def nights_complete(settings: Settings) -> dg.AssetCheckResult:
    """Return the result of the check on the newest nights that are over; it reads the ledger alone."""
    now = time.time()
    with open_ledger(settings) as ledger:
        found = verdicts(ledger, Rules.of(settings), now=now)
    over = [v for v in found if v.night.closes_at <= now][-NEWEST_NIGHTS:]
    lacking = [v for v in over if not v.complete]
    last = lacking[-1] if lacking else None
    said: metadata.Metadata = {"nights": len(over), "incomplete": len(lacking)}
    said |= {"why": f"{last.night.survey} {last.night.night}: {last.why}"} if last else {}
    return dg.AssetCheckResult(
        passed=not lacking,
        asset_key=NIGHTS_COMPLETE.asset_key,
        check_name=NIGHTS_COMPLETE.name,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**said, "table": metadata.certificates_table(over)},
    )


def _result(
    check: dg.AssetCheckSpec,
    *,
    passed: bool,
    numbers: dict[str, int],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed, asset_key=check.asset_key, check_name=check.name, severity=severity, metadata=numbers
    )
