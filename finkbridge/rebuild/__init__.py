"""The lake made again from its archive, with no broker: the tables, and the ledger too where it is lost."""

from finkbridge.rebuild.ledger import rebuild_ledger
from finkbridge.rebuild.report import LedgerReport
from finkbridge.rebuild.tables import RebuildReport, rebuild

__all__ = ["LedgerReport", "RebuildReport", "rebuild", "rebuild_ledger"]
