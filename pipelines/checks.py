"""Asset checks: what every run proves, and says so."""

from collections.abc import Iterator

import dagster as dg

from finkbridge.report import DrainReport

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
CHECKS = (RECONCILED, NO_GAP, NOTHING_QUARANTINED)


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
