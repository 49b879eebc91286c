"""The ledger: the database that knows what has landed, the only authority."""

from finkbridge.ledger.coordinator import Coordinator, coordinate
from finkbridge.ledger.store import Ledger

__all__ = ["Coordinator", "Ledger", "coordinate"]
