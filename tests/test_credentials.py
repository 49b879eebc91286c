"""fink-client's files: what each key becomes, and what is said of a broken one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from finkbridge.credentials import read_credentials
from finkbridge.errors import SettingsError
from finkbridge.settings import ClusterSettings, Loaded, load_settings

SECRET = "hunter2-very-secret"

REGISTERED = {
    "survey": "ztf",
    "username": "alice",
    "password": None,
    "servers": "kafka-a.example:9093, kafka-b.example:9093",
    "groupid": "alice_group",
    "maxtimeout": 10,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".finkclient").mkdir()
    return tmp_path


def write(home: Path, name: str, content: object) -> Path:
    path = home / ".finkclient" / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    path.chmod(0o600)
    return path


def load(home: Path, **environ: str) -> Loaded:
    return load_settings(environ={"HOME": str(home), **environ})


def cluster(home: Path, name: str = "ztf", **environ: str) -> ClusterSettings:
    return load(home, **environ).settings.clusters[name]


def test_registered_without_password(home: Path):
    path = write(home, "ztf_credentials.yml", REGISTERED)
    loaded = load(home)
    assert loaded.settings.clusters == {
        "ztf": ClusterSettings(servers=REGISTERED["servers"], group_id="alice_group", username="alice")  # type: ignore[arg-type]
    }
    assert loaded.credential_files == (path,)
    assert loaded.sources["clusters.ztf.group_id"] == str(path)


def test_two_surveys_make_two_clusters(home: Path):
    write(home, "ztf_credentials.yml", REGISTERED)
    write(home, "lsst_credentials.yml", {**REGISTERED, "survey": "lsst", "servers": "lsst.example:9092"})
    clusters = load(home).settings.clusters
    assert {name: c.servers for name, c in clusters.items()} == {
        "ztf": REGISTERED["servers"],
        "lsst": "lsst.example:9092",
    }


def test_old_file_is_ztf_unless_ztf_has_its_own(home: Path):
    old = {"username": "bob", "password": SECRET, "group_id": "g", "mytopics": ["a", "b"], "servers": "old:1"}
    write(home, "credentials.yml", {**old, "maxtimeout": 5})
    assert cluster(home) == ClusterSettings(
        servers="old:1",
        group_id="g",
        username="bob",
        password=SecretStr(SECRET),
        topics=("a", "b"),
        poll_timeout_s=5,
    )
    write(home, "ztf_credentials.yml", REGISTERED)
    assert cluster(home).username == "alice"
    assert cluster(home).topics == ()


def test_groupid_wins_as_in_fink_client(home: Path):
    write(home, "ztf_credentials.yml", {**REGISTERED, "group_id": "other"})
    assert cluster(home).group_id == "alice_group"
    write(home, "ztf_credentials.yml", {**REGISTERED, "groupid": None, "group_id": "other"})
    assert cluster(home).group_id == "other"


def test_topics_as_list_text_and_subscriptions(home: Path):
    write(
        home,
        "ztf_credentials.yml",
        {**REGISTERED, "mytopics": "a, b,", "topics": {"b": {}, "c": {"slack": {}}}},
    )
    assert cluster(home).topics == ("a", "b", "c")


def test_librdkafka_keys_pass_and_sasl_wins(home: Path):
    extra = {
        "sasl.username": "carol",
        "sasl.password": SECRET,
        "sasl.mechanism": "SCRAM-SHA-256",
        "ssl.key.password": "key-secret",
        "socket.timeout.ms": 5000,
        "enable.ssl.certificate.verification": False,
    }
    write(home, "lsst_credentials.yml", {**REGISTERED, **extra})
    lsst = cluster(home, "lsst")
    assert (lsst.username, lsst.password) == ("carol", SecretStr(SECRET))
    assert lsst.kafka == {
        "sasl.mechanism": "SCRAM-SHA-256",
        "ssl.key.password": SecretStr("key-secret"),
        "socket.timeout.ms": "5000",
        "enable.ssl.certificate.verification": "false",
    }


def test_settings_cover_the_file_key_by_key(home: Path):
    write(home, "ztf_credentials.yml", {**REGISTERED, "password": SECRET})
    (home / "finkbridge.toml").write_text("[clusters.ztf]\ngroup_id = 'mine'\ntopics = ['t']")
    ztf = cluster(home, FINKBRIDGE_CLUSTERS__ZTF__USERNAME="dave")
    assert (ztf.group_id, ztf.topics, ztf.username) == ("mine", ("t",), "dave")
    assert (ztf.servers, ztf.password) == (REGISTERED["servers"], SecretStr(SECRET))


def test_a_password_never_goes_to_other_servers(home: Path):
    path = write(home, "ztf_credentials.yml", {**REGISTERED, "password": SECRET})
    loaded = load(home, FINKBRIDGE_CLUSTERS__ZTF__SERVERS="localhost:9092")
    assert loaded.settings.clusters["ztf"] == ClusterSettings(servers="localhost:9092")
    assert loaded.notes == (f"{path} is not used: cluster ztf is set to other servers",)
    same = "kafka-b.example:9093,kafka-a.example:9093"
    assert cluster(home, FINKBRIDGE_CLUSTERS__ZTF__SERVERS=same).password == SecretStr(SECRET)


def test_another_folder(home: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ztf_credentials.yml").write_text(yaml.safe_dump(REGISTERED))
    (tmp_path / "elsewhere" / "ztf_credentials.yml").chmod(0o600)
    assert cluster(home, FINKBRIDGE_CREDENTIALS="~/elsewhere").username == "alice"


def test_no_folder_is_no_credentials(tmp_path: Path):
    assert read_credentials(tmp_path / "nowhere").files == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"servers: a:1\npassword: [{SECRET}", "not valid YAML at line 2"),
        (f"servers: a:1\npassword: '{SECRET}\x01'", "not valid YAML"),
        (f"- {SECRET}", "no keys and values"),
        ("", "no keys and values"),
        ({**REGISTERED, "password": 12345678}, "password is not a text: put it in quotes"),
        ({**REGISTERED, "password": [SECRET]}, "password is not a text"),
        ({**REGISTERED, "servers": 9092}, "servers is not a text"),
        ({**REGISTERED, "mytopics": 5}, "mytopics is no list"),
        ({"servers": "a:1", "username": "u", "pasword": SECRET}, "no key pasword, did you mean password?"),
        ({**REGISTERED, "mytopics": [{SECRET: 1}]}, "a topic is not a text"),
        (
            {**REGISTERED, "sasl.jaas.config": {"x": SECRET}},
            "sasl.jaas.config is neither a text nor a number",
        ),
        ({**REGISTERED, "username": None, "password": SECRET}, "there is a password and no username"),
        ({**REGISTERED, "servers": None}, "clusters.ztf.servers"),
    ],
)
def test_broken_file_is_one_line_without_values(home: Path, content: object, message: str):
    path = write(home, "ztf_credentials.yml", content)
    with pytest.raises(SettingsError) as caught:
        load(home)
    text = str(caught.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text
    assert SECRET not in text
    assert "12345678" not in text


def test_keys_of_fink_client_that_are_not_ours_do_not_count(home: Path):
    write(home, "ztf_credentials.yml", {**REGISTERED, "group": "x", "tmin": 3, "testtopic": "t"})
    assert cluster(home).group_id == "alice_group"


def test_not_utf8(home: Path):
    path = write(home, "ztf_credentials.yml", "")
    path.write_bytes(b"password: \xff\xfe")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load(home)


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
def test_file_that_others_can_read_is_warned_of(home: Path, caplog: pytest.LogCaptureFixture):
    path = write(home, "ztf_credentials.yml", {**REGISTERED, "password": SECRET})
    with caplog.at_level(logging.WARNING):
        load(home)
        assert caplog.messages == []
        path.chmod(0o640)
        load(home)
    assert len(caplog.messages) == 1
    assert f"chmod 600 {path}" in caplog.messages[0]
    assert SECRET not in caplog.text
