"""Views of files: kinds that have nothing to draw are told, and draw nothing."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import fastavro
import pytest

from finkbridge.cli.main import main
from finkbridge.errors import SettingsError
from finkbridge.viewer.sources import of_files
from tests.consumer.samples import COUNTING, ELASTICC, MULTI_MESSENGER

GRB = {
    "objectId": "ZTF21abc",
    "candid": 17,
    "fink_class": "SN",
    "rate": 0.3,
    "observatory": "Fermi",
    "triggerId": "683",
}
SOURCE = {"diaSourceId": 5, "diaObjectId": 747, "midPointTai": 60674.0, "filterName": "r", "psFlux": 100.0}


def container(schema: Any, *alerts: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.writer(stream, schema, alerts)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("schema", "alert", "names"),
    [
        (MULTI_MESSENGER, GRB, "ZTF21abc, 683 17"),
        (COUNTING, {"objectId": "ZTF21abc"}, "ZTF21abc, without a number"),
    ],
)
def test_a_kind_without_images_and_curve_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], schema: Any, alert: dict[str, Any], names: str
) -> None:
    (tmp_path / "a.avro").write_bytes(container(schema, alert, alert))
    assert main(["viewer", "-filename", str(tmp_path), "--text"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"nothing to draw in 2 of 2 alerts (the first: {names})" in said.err
    assert "finkbridge.AlertReader" in said.err
    assert "packets_other" in said.err
    assert said.err.count("\n") == 1
    picture = tmp_path / "a.png"
    assert main(["viewer", "-filename", str(tmp_path / "a.avro"), "--save", str(picture)]) == 2
    assert not picture.exists()


def test_what_can_be_drawn_beside_them_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.avro").write_bytes(container(MULTI_MESSENGER, GRB))
    (tmp_path / "b.avro").write_bytes(container(ELASTICC, {"alertId": 1, "diaSource": SOURCE}))
    with caplog.at_level(logging.WARNING):
        (view,) = of_files(tmp_path)
    assert view.title == "747"
    assert "nothing to draw in 1 of 2 alerts" in caplog.text


def test_a_folder_without_an_alert_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no alert in"):
        list(of_files(tmp_path))
