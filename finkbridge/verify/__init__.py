"""``finkbridge verify``: whether the lake is what the ledger says, and the ledger what it promises."""

from finkbridge.verify.findings import Finding, Scope
from finkbridge.verify.report import Report, Watcher
from finkbridge.verify.run import Options, check_ledger, verify

__all__ = ["Finding", "Options", "Report", "Scope", "Watcher", "check_ledger", "verify"]
