"""One lake of real alerts for all tests of verification, copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.lake import real_alerts
from tests.verify.lakes import Feed, add, merge_all, mixed


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Both surveys and another schema, holes, quarantine, several segments, two topics."""
    lake = tmp_path_factory.mktemp("verify") / "lake"
    ztf, lsst = (real_alerts(shared_data / name) for name in ("ztf", "lsst"))
    add(lake, Feed("fink_a_ztf", mixed(ztf.records[:10])), parts=3)
    add(lake, Feed("fink_b_lsst", mixed(lsst.records[:4])), parts=2)
    return lake


@pytest.fixture
def lake(template: Path, tmp_path: Path) -> Path:
    """Give a copy to damage; its catalog still points to the template."""
    return Path(shutil.copytree(template, tmp_path / "lake"))


@pytest.fixture
def merged(lake: Path) -> Path:
    """The same, its nights merged."""
    merge_all(lake)
    return lake
