"""Once this is imported, a process tells when it begins to fetch, by the file that TORTURE_FETCHING names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finkbridge.broker.client import Broker
from tests.torture import MARK

_fetch = Broker.fetch


def _marked_fetch(self: Broker, *args: Any, **kwargs: Any) -> Iterator[Any]:
    Path(os.environ[MARK]).touch()
    return _fetch(self, *args, **kwargs)


Broker.fetch = _marked_fetch  # type: ignore[method-assign]
