"""What went wrong, as the one clear line that a run ends with."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from finkbridge.errors import FinkbridgeError
from finkbridge.report import DrainReport


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn an error of the library into a failure that says it in one line; the next tick tries again."""
    try:
        yield
    except FinkbridgeError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def check_success(report: DrainReport) -> None:
    """Raise Failure if something of a run is not in the lake. What was drained stays drained."""
    if report.succeeded:
        return
    problems = report.problems or ["the counts do not reconcile: see the check counts_reconcile"]
    done = f"{report.total('rows')} rows landed and stay"
    listed = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in problems))
    raise dg.Failure(f"{'; '.join(problems)} ({done})", metadata={"problems": listed}, allow_retries=False)
