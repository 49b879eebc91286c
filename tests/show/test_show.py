"""Objects and alerts of a lake: found, shown, and given back byte for byte."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fastavro
import pytest
from astropy.io import fits

from finkbridge import AlertReader
from finkbridge.errors import DecodeError, SettingsError
from finkbridge.lookup import Lookup
from finkbridge.show.files import as_json, container, write_alerts, write_cutouts
from finkbridge.viewer.history import points
from finkbridge.viewer.sources import of_files, of_lake
from tests.consumer.samples import COUNTING, ELASTICC, MULTI_MESSENGER, record
from tests.support.command import FINKBRIDGE, Command
from tests.support.lake import RealAlerts, encode, real_alerts, same
from tests.support.offline import fill, messages_of, settings_of

OBJECT, SOURCE = "ZTF26aamcbly", 3367463101415010117
MOVING = "'; DROP TABLE deliveries; --"


@pytest.fixture(scope="module")
def ztf(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "ztf")


@pytest.fixture(scope="module")
def lsst(shared_data: Path) -> RealAlerts:
    return real_alerts(shared_data / "lsst")


@pytest.fixture(scope="module")
def lake(ztf: RealAlerts, lsst: RealAlerts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake where some alerts came by two topics, and one is itself a container file."""
    lake = tmp_path_factory.mktemp("show") / "lake"
    wrapped = io.BytesIO()
    fastavro.writer(wrapped, ztf.schema, [ztf.alerts[9]])
    topics = {
        "fink_a_ztf": messages_of(ztf.records[:9]),
        "fink_b_ztf": messages_of(ztf.records[:3], partition=4, first=70),
        "ztf_own": messages_of([(None, wrapped.getvalue())]),
        "fink_lsst": messages_of(lsst.records),
    }
    fill(lake, topics)
    return lake


@pytest.fixture
def lookup(lake: Path) -> Iterator[Lookup]:
    with Lookup(settings_of(lake)) as opened:
        yield opened


@pytest.fixture
def command(lake: Path, tmp_path: Path) -> Command:
    return Command(tmp_path, "127.0.0.1:1", FINKBRIDGE_LAKE=str(lake))


def test_an_object_has_all_its_messages(lookup: Lookup, ztf: RealAlerts) -> None:
    (alert,) = lookup.find(OBJECT)
    assert (alert.survey, alert.object_id, alert.source_id) == ("ztf", OBJECT, SOURCE)
    assert alert.topics == ["fink_a_ztf", "fink_b_ztf"]
    assert [(d["kafka_partition"], d["kafka_offset"]) for d in alert.deliveries] == [(0, 0), (4, 70)]
    assert lookup.raw(alert).datum == ztf.datums[0]
    assert lookup.raw(alert).schema.text == ztf.key
    (by_number,) = lookup.find(str(SOURCE))
    assert by_number.row == alert.row


def test_every_alert_is_found_and_given_back(lookup: Lookup, ztf: RealAlerts, lsst: RealAlerts) -> None:
    for real, key, count in ((ztf, "candid", 10), (lsst, "diaSourceId", 7)):
        for datum, sent in list(zip(real.datums, real.alerts, strict=True))[:count]:
            (alert,) = lookup.find(str(sent[key]))
            raw = lookup.raw(alert)
            assert raw.datum == datum
            assert same(raw.record(), sent)


@pytest.mark.parametrize("name", ["nobody", "../x", "a\0b", "1", "9" * 40, MOVING, "", "\u0663"])
def test_what_is_not_there_is_an_error(lookup: Lookup, name: str) -> None:
    with pytest.raises(SettingsError, match=r"the lake has no object and no alert .*: finkbridge sql"):
        lookup.find(name)


def test_another_surveys_name_is_not_there(lookup: Lookup) -> None:
    with pytest.raises(SettingsError, match="no object"):
        lookup.find(OBJECT, "lsst")


def test_a_place_that_has_no_message_is_an_error(lookup: Lookup) -> None:
    (alert,) = lookup.find(OBJECT)
    place = alert.deliveries[0]
    for wrong in (
        {"archive_pos": place["archive_pos"] + 1},
        {"archive_len": 7},
        {"archive_pos": 0},
        {"archive_file": "../../etc/passwd"},
        {"archive_file": "archive/gone/undated/x.avro"},
    ):
        with pytest.raises(DecodeError):
            lookup.raw(replace(alert, deliveries=(place | wrong,)))


def test_the_lakes_light_curve_is_the_alerts(
    lookup: Lookup, lake: Path, ztf: RealAlerts, lsst: RealAlerts
) -> None:
    for real, survey, name in (
        (ztf, "ztf", OBJECT),
        (lsst, "lsst", str(lsst.alerts[0]["diaSource"]["diaObjectId"])),
    ):
        mine = points(real.alerts[0], survey)
        view = of_lake(settings_of(lake), name)
        assert len(view.points) >= len(mine)
        theirs = {(round(p.mjd, 7), p.kind, p.band): p for p in view.points}
        for point in mine:
            other = theirs[round(point.mjd, 7), point.kind, point.band]
            assert other.is_positive == point.is_positive
            for field in ("mag", "mag_err", "mag_lim", "flux", "flux_err"):
                wanted = getattr(point, field)
                wanted = None if wanted is None else pytest.approx(wanted, rel=1e-5)
                assert getattr(other, field) == wanted, (point, field)
        assert view.current is not None
        assert view.current.kind == "alert"


def test_files_of_an_alert_are_its_bytes(lookup: Lookup, lsst: RealAlerts, tmp_path: Path) -> None:
    found = lookup.find(str(lsst.alerts[0]["diaSourceId"]))
    (path,) = write_alerts(lookup, found, tmp_path)
    assert path.name == f"{found[0].object_id}_{found[0].source_id}.avro"
    with path.open("rb") as stream:
        reader = fastavro.reader(stream)
        assert reader.metadata["avro.schema"].encode() == lsst.key
        assert same(list(reader), lsst.alerts[:1])
    assert lsst.datums[0] in path.read_bytes()
    assert same(AlertReader(path).to_list(), lsst.alerts[:1])
    files, problems = write_cutouts(lookup, found, tmp_path / "fits")
    assert problems == []
    assert [f.name.rpartition("_")[2] for f in files] == ["science.fits", "template.fits", "difference.fits"]
    assert files[0].read_bytes() == lsst.alerts[0]["cutoutScience"]
    with fits.open(files[2]) as units:
        assert units[0].data.shape == (30, 30)
    assert write_cutouts(lookup, found, tmp_path / "fits")[0] == files  # the same again is no clash
    files[0].write_bytes(b"mine")
    with pytest.raises(SettingsError, match="is there already"):
        write_cutouts(lookup, found, tmp_path / "fits")
    assert files[0].read_bytes() == b"mine"


def test_alerts_of_two_schemas_are_no_one_file(lookup: Lookup, lsst: RealAlerts) -> None:
    both = [lookup.raw(lookup.find(name)[0]) for name in (OBJECT, str(lsst.alerts[0]["diaSourceId"]))]
    with pytest.raises(SettingsError, match="2 writer schemas"):
        container(both)


def test_json_has_the_whole_alert(lookup: Lookup, ztf: RealAlerts) -> None:
    (alert,) = lookup.find(OBJECT)
    told = json.loads(json.dumps(as_json(alert, lookup.raw(alert).record()), allow_nan=False))
    assert told["packet"]["candidate"]["magpsf"] == ztf.alerts[0]["candidate"]["magpsf"]
    assert len(told["packet"]["prv_candidates"]) == len(ztf.alerts[0]["prv_candidates"])
    assert "cutoutScience" not in told["packet"]
    assert [d["topic"] for d in told["deliveries"]] == ["fink_a_ztf", "fink_b_ztf"]
    assert told["deliveries"][0]["received"] == "2026-03-20T23:40:00Z"


def test_show_command(command: Command, lake: Path) -> None:
    said = command.run("show", OBJECT).stdout
    for wanted in (
        OBJECT,
        str(SOURCE),
        "fink_a_ztf, fink_b_ztf",
        "4:70",
        "16.449",
        "2026-03-22 11:06:52",
        "archive/",
    ):
        assert wanted in said
    told = command.json("show", str(SOURCE))
    assert told["alerts"][0]["deliveries"][0]["archive_pos"] > 0
    assert (command.folder / "lake").exists() is False


@pytest.mark.parametrize(
    "arguments", [("show", OBJECT, "--avro"), ("show", "--avro", OBJECT), ("show", OBJECT, "-avro", "-")]
)
def test_show_prints_the_alert(command: Command, ztf: RealAlerts, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [FINKBRIDGE, *arguments], capture_output=True, check=True, cwd=command.folder, env=command.environ
    )
    assert same(list(fastavro.reader(io.BytesIO(done.stdout))), ztf.alerts[:1])


def test_show_writes_files(command: Command, ztf: RealAlerts) -> None:
    assert command.run("show", OBJECT, "--avro", "one.avro").stdout == "one.avro\n"
    assert same(AlertReader(command.folder / "one.avro").to_list(), ztf.alerts[:1])
    assert command.json("show", OBJECT, "--avro", "two.avro")["id"] == OBJECT
    assert (command.folder / "two.avro").read_bytes() == (command.folder / "one.avro").read_bytes()
    assert command.run("show", OBJECT, "--avro", "out/").stdout == f"out/{OBJECT}_{SOURCE}.avro\n"
    assert command.run("show", OBJECT, "-fits", "cut").stdout.count(".fits\n") == 3
    (command.folder / "one.avro").write_bytes(b"mine")
    said = command.run("show", OBJECT, "--avro", "one.avro", code=2).stderr
    assert "is there already" in said
    assert said.count("\n") == 1
    for option, place, reason in (
        ("--avro", "/proc/x.avro", "cannot be a file"),
        ("--avro", "one.avro/x.avro", "is no folder"),
        ("--avro", "/proc/xx/", "cannot be made"),
        ("--fits", "/proc/xx", "cannot be made"),
        ("--fits", "one.avro/xx", "is no folder"),
    ):
        said = command.run("show", OBJECT, option, place, code=2).stderr
        assert f"{reason}: name another place" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show",), 2, "say what to show"),
        (("show", "../x"), 2, "the lake has no object and no alert '../x'"),
        (("show", "\udcff"), 2, "the lake has no object and no alert '?'"),
        (("show", OBJECT, "--json", "--avro"), 2, "both take standard output"),
        (("viewer",), 2, "say what to look at"),
        (("viewer", "-filename", "absent.avro"), 2, "there is no file or folder absent.avro"),
        (("viewer", "-object", "nobody"), 2, "the lake has no object"),
        (("viewer", "-object", OBJECT, "--save", "a.jpg"), 2, "no format that is known"),
        (("--lake", "nowhere", "show", OBJECT), 1, "nowhere"),
    ],
)
def test_bad_calls_are_one_line(command: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = command.run(*arguments, code=code)
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert [p.name for p in command.folder.iterdir() if not p.name.startswith(".")] == []


def test_viewer_draws_and_saves(command: Command, shared_data: Path) -> None:
    drawn = command.run("viewer", "-object", OBJECT).stdout
    assert "@ this alert" in drawn
    assert "\x1b" not in drawn
    assert command.run("viewer", "-object", str(SOURCE), "--save", "a.png").stdout == "a.png\n"
    done = command.run("viewer", "-f", str(shared_data / "ztf"), "-limit", "2", "-save", "b.pdf")
    assert done.stdout == "b.pdf\n"
    assert "and more" in done.stderr
    assert (command.folder / "b.pdf").read_bytes().startswith(b"%PDF")


def test_viewer_of_a_folder_names_what_is_wrong(command: Command, shared_data: Path) -> None:
    folder = command.folder / "alerts"
    folder.mkdir()
    (folder / "a.avro").write_bytes(b"junk")
    (folder / "b.avro").symlink_to(next((shared_data / "lsst").glob("*.avro")))
    done = command.run("viewer", "--filename", "alerts", "--limit", "1", "--text")
    assert "LSST 170028485706776685" in done.stdout
    assert "alerts/a.avro is not read: it is no Avro container file" in done.stderr
    (folder / "b.avro").unlink()
    assert "there is no alert in alerts" in command.run("viewer", "--filename", "alerts", code=2).stderr


def test_a_display_that_does_not_answer_is_no_error(command: Command) -> None:
    command.environ = {**command.environ, "DISPLAY": ":4242"}
    assert "@ this alert" in command.run("viewer", "-object", OBJECT).stdout


def test_files_are_views(shared_data: Path) -> None:
    assert len(list(of_files(shared_data / "lsst"))) == 7


def test_an_alert_whose_number_is_its_objects_name_is_found(lsst: RealAlerts, tmp_path: Path) -> None:
    """LSST names an object by its first alert: the number alone shows the object."""
    first = next(alert for alert in lsst.alerts if alert["diaObject"])
    name = first["diaObject"]["diaObjectId"]
    both = [
        encode(lsst.schema, first | {"diaSourceId": number, "diaSource": first["diaSource"] | changes})
        for number, changes in (
            (name, {"diaSourceId": name}),
            (7, {"diaSourceId": 7, "midpointMjdTai": first["diaSource"]["midpointMjdTai"] + 1}),
        )
    ]
    lake = tmp_path / "lake"
    fill(lake, {"fink_lsst": messages_of([(lsst.key, value) for value in both])})
    command = Command(tmp_path, "127.0.0.1:1", FINKBRIDGE_LAKE=str(lake))
    done = command.run("show", str(name), "-limit", "1")
    assert done.stderr.splitlines() == [
        "finkbridge: and 1 more: -limit 0 for all",
        f"finkbridge: it is an alert's number too: -alert {name} shows that one",
    ]
    assert [a["source_id"] for a in command.json("show", str(name))["alerts"]] == [7, name]
    assert [a["source_id"] for a in command.json("show", "-alert", str(name))["alerts"]] == [name]
    assert command.run("show", "-alert", "7").stderr == ""
    assert "not both" in command.run("show", str(name), "-alert", "7", code=2).stderr
    assert command.run("viewer", "-alert", str(name), "-text").returncode == 0
    numbers = [of_lake(settings_of(lake), str(name), by_number=mine).source_id for mine in (True, False)]
    assert numbers == [str(name), "7"]


def test_an_alert_is_read_by_whichever_message_can_be(ztf: RealAlerts, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    fill(lake, {topic: messages_of(ztf.records[:1]) for topic in ("fink_a_ztf", "fink_b_ztf")})
    (damaged,) = lake.glob("archive/fink_a_ztf/*/*.avro")
    damaged.write_bytes(b"junk")
    with Lookup(settings_of(lake)) as lookup:
        (alert,) = lookup.find(OBJECT)
        assert same(lookup.raw(alert).record(), ztf.alerts[0])
        assert same(lookup.record(alert), ztf.alerts[0])
        next(lake.glob("archive/fink_b_ztf/*/*.avro")).unlink()
        with pytest.raises(DecodeError, match=r"archive/fink_a_ztf.* damaged"):
            lookup.raw(alert)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake of alerts that are neither ZTF's nor LSST's; one came by two topics."""
    lake = tmp_path_factory.mktemp("others") / "lake"
    grb = {"objectId": "ZTF21abc", "candid": 17, "fink_class": "SN", "rate": 0.3, "observatory": "Fermi"}
    first, second = (record(MULTI_MESSENGER, grb | {"triggerId": trigger}) for trigger in ("683", "684"))
    source = {"diaSourceId": 5, "diaObjectId": 747, "midPointTai": 6e4, "filterName": "r", "psFlux": 1.0}
    topics = {
        "fink_grb_bronze": messages_of([first, second]),
        "fink_grb_silver": messages_of([first], partition=2),
        "fink_elasticc": messages_of([record(ELASTICC, {"alertId": 1, "diaSource": source})]),
        "fink_ztf_20260322": messages_of([record(COUNTING, {"objectId": "ZTF9"})] * 2),
    }
    fill(lake, topics)
    return lake


def test_alerts_of_other_kinds_are_found_by_their_own_names(others: Path) -> None:
    with Lookup(settings_of(others)) as lookup:
        later, sooner = lookup.find("ZTF21abc")
        assert [a.row["trigger"] for a in (later, sooner)] == ["684", "683"]
        assert (sooner.survey, sooner.object_id, sooner.source_id) == ("other", "ZTF21abc", 17)
        assert (sooner.row["class"], sooner.row["observatory"]) == ("SN", "Fermi")
        assert sooner.topics == ["fink_grb_bronze", "fink_grb_silver"]
        assert lookup.raw(later).record()["triggerId"] == "684"
        assert [a.row for a in lookup.find("17")] == [later.row, sooner.row]
        (simulated,) = lookup.find("747")
        assert (simulated.source_id, lookup.find("5")[0].row) == (5, simulated.row)
        counted = lookup.find("ZTF9")
        assert {a.label for a in counted} == {"fink_ztf_20260322-0-0", "fink_ztf_20260322-0-1"}
        for unknown in ("0", "", "ZTF21abc' OR 1=1 --", "None"):
            with pytest.raises(SettingsError, match="no object and no alert"):
                lookup.find(unknown)
        with pytest.raises(SettingsError, match="no object and no alert"):
            lookup.find("747", "lsst")


def test_what_other_kinds_have_of_an_object_is_told(tmp_path: Path, ztf: RealAlerts) -> None:
    """Multi-messenger topics send alerts of ZTF's objects again, in a form of their own."""
    lake = tmp_path / "lake"
    grb = {"objectId": OBJECT, "candid": SOURCE, "triggerId": "683"}
    fill(lake, {
        "fink_a_ztf": messages_of(ztf.records[:1]),
        "fink_grb_bronze": messages_of([record(MULTI_MESSENGER, grb)]),
    })  # fmt: skip
    command = Command(tmp_path, "127.0.0.1:1", FINKBRIDGE_LAKE=str(lake))
    done = command.run("show", OBJECT)
    assert done.stdout.startswith(f"object     {OBJECT}   (ztf)")
    assert done.stderr == "finkbridge: and 1 message of other kinds (fink_grb_bronze): -survey other\n"
    other = command.run("show", OBJECT, "-survey", "other")
    assert (other.stdout.splitlines()[0], other.stderr) == (f"object     {OBJECT}   (other)", "")
    assert command.run("show", OBJECT, "-survey", "ztf").stderr == ""


def test_they_are_shown_as_others_are(others: Path, tmp_path: Path) -> None:
    command = Command(tmp_path, "127.0.0.1:1", FINKBRIDGE_LAKE=str(others))
    lines = command.run("show", "ZTF21abc").stdout.splitlines()
    assert lines[0] == "object     ZTF21abc   (other)"
    assert "trigger    683, 684" in lines
    assert "observatory Fermi" in lines
    assert not any(line.startswith("position") for line in lines)
    assert sum("fink_grb_bronze" in line and "archive/" in line for line in lines) == 2
    (told, _) = command.json("show", "ZTF21abc")["alerts"]
    assert (told["survey"], told["trigger"], told["packet"]["rate"]) == ("other", "684", 0.3)
    written = command.run("show", "ZTF21abc", "--avro", "out/").stdout.split()
    assert written == ["out/ZTF21abc_684_17.avro", "out/ZTF21abc_683_17.avro"]
    assert [a["triggerId"] for a in AlertReader(tmp_path / "out").to_list()] == ["683", "684"]
    assert "no cutout was written" in command.run("show", "747", "--fits", "fits", code=2).stderr
    assert "finkbridge show 747" in command.run("viewer", "-object", "747", code=2).stderr
