"""The published catalog: its views and macros, wherever it is opened, whatever happens beside it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from finkbridge import catalog, layout
from finkbridge.drain import open_bridge
from finkbridge.errors import LakeAccessError
from finkbridge.ledger import Ledger, coordinate
from tests.support.kafka import Kafka
from tests.support.lake import (
    KEPT,
    RealAlerts,
    drained,
    encode,
    forget_landers,
    make_settings,
    open_catalog,
    points,
    real_alerts,
    sql,
)

pytestmark = pytest.mark.kafka

VIEWS = {
    "alerts",
    "deliveries",
    "packets_ztf",
    "packets_lsst",
    "packets_other",
    "predictions",
    "segments",
    "topics",
    "quarantine",
    "gaps",
}


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="module")
def lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


@pytest.fixture(scope="module")
def lake(
    kafka: Kafka, ztf: RealAlerts, lsst: RealAlerts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """All real alerts of both surveys, and two other topics whose columns clash."""
    lake = tmp_path_factory.mktemp("catalog") / "it's a lake"
    topics = [kafka.topic(name, config=KEPT) for name in ("fink_ztf", "fink_lsst", "other_a", "other_b")]
    kafka.produce(topics[0], ztf.records)
    kafka.produce(topics[1], lsst.records)
    kafka.produce(topics[2], points(1.5, 2.5))
    text = {
        "type": "record",
        "name": "p",
        "fields": [{"name": "X", "type": "string"}, {"name": "n", "type": "int"}],
    }
    kafka.produce(topics[3], [(repr(text).replace("'", '"').encode(), encode(text, {"X": "far", "n": 3}))])
    drained(make_settings(lake, kafka.bootstrap, *topics))
    yield lake
    forget_landers()


def test_empty_lake_has_all_views(kafka: Kafka, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    drained(make_settings(lake, kafka.bootstrap, kafka.topic("empty")))
    with open_catalog(lake) as connection:
        for view in VIEWS:
            assert connection.sql(f"SELECT * FROM {view}").fetchall() in (
                [],
                connection.sql("FROM topics").fetchall(),
            )
        assert connection.sql("SELECT * FROM lightcurve('any')").fetchall() == []


def test_clashing_columns_of_other_topics_meet_as_text(lake: Path) -> None:
    rows = sql(lake, "SELECT x, n FROM packets_other ORDER BY _topic, _kafka_offset")
    assert rows == [("1.5", None), ("2.5", None), ('"far"', 3)]


def test_every_view_has_rows_of_its_own(lake: Path, ztf: RealAlerts, lsst: RealAlerts) -> None:
    counts = {view: sql(lake, f"SELECT count(*) FROM {view}")[0][0] for view in VIEWS}
    z, r = len(ztf.alerts), len(lsst.alerts)
    assert counts == {
        "alerts": z + r, "deliveries": z + r + 3, "packets_ztf": z, "packets_lsst": r, "packets_other": 3,
        "predictions": 0, "segments": 4, "topics": 4, "quarantine": 0, "gaps": 0,
    }  # fmt: skip


def ztf_points(alerts: list[dict[str, Any]]) -> dict[float, tuple[str, float | None]]:
    """Return band and brightness by time of an object's detections, own ones and those in histories."""
    found = {}
    for alert in alerts:
        for c in [*(alert["prv_candidates"] or []), alert["candidate"]]:
            if c["magpsf"] is not None:
                found[round(c["jd"] - 2400000.5, 6)] = (
                    "-gri"[c["fid"]],
                    pytest.approx(c["magpsf"], rel=1e-6),
                )
    return found


def test_lightcurve_of_each_ztf_object(lake: Path, ztf: RealAlerts) -> None:
    with open_catalog(lake) as connection:
        for object_id in {alert["objectId"] for alert in ztf.alerts}:
            mine = [alert for alert in ztf.alerts if alert["objectId"] == object_id]
            query = "SELECT mjd, band, mag FROM lightcurve(?) WHERE kind IN ('alert', 'history')"
            rows = connection.execute(query, [object_id]).fetchall()
            assert [row[0] for row in rows] == sorted(row[0] for row in rows)
            assert {round(mjd, 6): (band, mag) for mjd, band, mag in rows} == ztf_points(mine)
            assert len(rows) == len(ztf_points(mine))


def test_lightcurve_of_each_lsst_object(lake: Path, lsst: RealAlerts) -> None:
    with open_catalog(lake) as connection:
        for alert in lsst.alerts:
            if not alert["diaSource"]["diaObjectId"]:
                continue
            sources = [*(alert["prvDiaSources"] or []), alert["diaSource"]]
            expected = {s["diaSourceId"]: (s["band"], s["psfFlux"]) for s in sources}
            query = "SELECT source_id, band, flux FROM lightcurve(?) WHERE kind IN ('alert', 'history')"
            rows = connection.execute(query, [str(alert["diaSource"]["diaObjectId"])]).fetchall()
            found = {i: (b, f) for i, b, f in rows}
            for source_id, (band, flux) in expected.items():
                assert found[source_id][0] == band
                assert found[source_id][1] == pytest.approx(flux, rel=1e-6) or math.isnan(flux)


def test_opened_from_any_folder_by_another_program(lake: Path, tmp_path: Path, ztf: RealAlerts) -> None:
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(len(c.sql('FROM packets_ztf').fetchall()))"
    )
    command = [sys.executable, "-c", code, os.path.relpath(lake / layout.CATALOG, tmp_path)]
    told = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == str(len(ztf.alerts))


def test_moved_lake_works_when_it_is_told_or_published_anew(kafka: Kafka, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    topic = kafka.topic("moved")
    kafka.produce(topic, points(1, 2))
    drained(make_settings(old, kafka.bootstrap, topic))
    forget_landers()
    old.rename(new)
    with open_catalog(new) as connection:
        with pytest.raises(duckdb.Error):
            connection.sql("SELECT * FROM deliveries").fetchall()
        connection.execute(f"SET VARIABLE lake = '{new}'")
        assert len(connection.sql("SELECT * FROM deliveries").fetchall()) == 2
    with Ledger(new) as ledger, coordinate(ledger) as coordinator:
        catalog.publish(coordinator)
    assert sql(new, "SELECT x FROM packets_other ORDER BY x") == [(1.0,), (2.0,)]


def test_missing_file_is_one_line_that_names_it(kafka: Kafka, tmp_path: Path) -> None:
    topic = kafka.topic("missing")
    kafka.produce(topic, points(1, 2))
    drained(make_settings(tmp_path / "lake", kafka.bootstrap, topic))
    forget_landers()
    (gone,) = (tmp_path / "lake/packets").rglob("*.parquet")
    gone.unlink()
    with Ledger(tmp_path / "lake") as ledger, coordinate(ledger) as coordinator:
        with pytest.raises(LakeAccessError, match=gone.name) as failure:
            catalog.publish(coordinator)
        with pytest.raises(LakeAccessError, match=gone.name):
            catalog.connect(ledger)
    assert len(str(failure.value).splitlines()) == 1


def test_replaced_while_a_reader_holds_the_old_one(kafka: Kafka, tmp_path: Path) -> None:
    lake, topic = tmp_path / "lake", kafka.topic("held")
    settings = make_settings(lake, kafka.bootstrap, topic)
    kafka.produce(topic, points(1))
    drained(settings)
    held = duckdb.connect(str(lake / layout.CATALOG))  # not even read-only
    held.execute("CREATE TABLE mine AS SELECT 1")
    kafka.produce(topic, points(2))
    drained(settings)
    assert held.sql("SELECT count(*) FROM deliveries").fetchall() == [(1,)]
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(len(c.sql('FROM deliveries').fetchall()))"
    )
    command = [sys.executable, "-c", code, str(lake / layout.CATALOG)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "2"
    held.close()
    assert sql(lake, "SELECT count(*) FROM deliveries") == [(2,)]


def test_published_again_when_it_is_gone_or_old(kafka: Kafka, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    settings = make_settings(lake, kafka.bootstrap, kafka.topic("gone"))
    with open_bridge(settings) as bridge:
        bridge.run()
        first = (lake / layout.CATALOG).stat().st_ino
        bridge.run()
        assert (lake / layout.CATALOG).stat().st_ino == first
        (lake / layout.CATALOG).unlink()
        bridge.run()
    assert sql(lake, "SELECT count(*) FROM alerts") == [(0,)]


@pytest.mark.parametrize("where", ["object_id = '{o}'", "night = {n}", "mjd > {m}"])
def test_filters_on_alerts_reach_the_files(lake: Path, ztf: RealAlerts, where: str) -> None:
    query = "SELECT object_id, night, mjd FROM alerts WHERE survey = 'ztf' ORDER BY mjd LIMIT 1 OFFSET 9"
    ((object_id, night, mjd),) = sql(lake, query)
    condition = where.format(o=object_id, n=night, m=mjd)
    with open_catalog(lake) as connection:
        query = f"EXPLAIN (FORMAT json) SELECT ra FROM alerts WHERE {condition}"
        ((_, plan),) = connection.execute(query).fetchall()
    nodes = list(walk(json.loads(plan)))
    scans = [node for node in nodes if "PARQUET" in node["name"]]
    assert scans
    if where.startswith("night"):  # files of other nights are not even opened
        rows = sorted(int(scan["extra_info"]["Estimated Cardinality"]) for scan in scans)
        assert rows == [1] * (len(scans) - 1) + [len(ztf.alerts)]  # DuckDB writes 1 for none
        return
    for scan in scans:
        assert where.partition(" ")[0] in str(scan["extra_info"].get("Filters")), scan


def walk(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        yield node
        yield from walk(node["children"])


def test_old_duckdb_can_open_it(lake: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"ATTACH '{str(lake / layout.CATALOG).replace(chr(39), chr(39) * 2)}' AS c (READ_ONLY)"
        )
        query = "SELECT tags FROM duckdb_databases() WHERE database_name = 'c'"
        ((tags,),) = connection.execute(query).fetchall()
    assert "v1.2" in str(tags)


def test_quick_enough_to_publish_every_time(lake: Path) -> None:
    with Ledger(lake) as ledger, coordinate(ledger) as coordinator:
        started = time.monotonic()
        catalog.publish(coordinator)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("limit", [4_000, 20_000, 60_000])
def test_a_disk_that_fills_while_the_catalog_is_written(tmp_path: Path, limit: int) -> None:
    lake = tmp_path / "lake"
    code = (
        "import resource, sys; from pathlib import Path; from finkbridge import catalog\n"
        "from finkbridge.errors import LakeAccessError; from finkbridge.ledger import Ledger, coordinate\n"
        "with Ledger(Path(sys.argv[1]), create=True) as ledger, coordinate(ledger) as coordinator:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "    try: catalog.publish(coordinator)\n"
        "    except LakeAccessError as error: print(error)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "    catalog.publish(coordinator)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(lake), str(limit)], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith(f"the catalog of {lake} cannot be written (")
    assert done.stdout.endswith("run `finkbridge catalog`; what has landed is committed\n")
    assert sql(lake, "SELECT count(*) FROM deliveries") == [(0,)]
