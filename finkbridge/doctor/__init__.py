"""Whether all is well between this machine, its lake and its clusters, one finding a line."""

from __future__ import annotations

from finkbridge.doctor.examine import examine
from finkbridge.doctor.findings import Finding

__all__ = ["Finding", "examine"]
