"""Credential files that both clients read: private, replaced in one step, and never said aloud."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from finkbridge.credentials import read_credentials
from finkbridge.errors import SettingsError
from finkbridge.register import (
    add_topics,
    check,
    load_credentials,
    read_content,
    register,
    remove_topics,
)

SAID = {"username": "me", "group_id": "g", "servers": "a:1,b:2", "mytopics": ["fink_a", "fink_b"]}
SECRET = "hunter2-very-secret"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_has_all_of_fink_clients_keys(tmp_path: Path) -> None:
    file = register(tmp_path / "home", "ztf", SAID)
    assert file == tmp_path / "home" / "ztf_credentials.yml"
    assert yaml.safe_load(file.read_text()) == {
        "survey": "ztf",
        "username": "me",
        "password": None,
        "group_id": "g",
        "groupid": "g",
        "servers": "a:1,b:2",
        "mytopics": ["fink_a", "fink_b"],
        "topics": {"fink_a": {}, "fink_b": {}},
        "maxtimeout": 10,
    }
    assert mode(file) == 0o600
    assert mode(tmp_path / "home") == 0o700


def test_our_settings_read_it(tmp_path: Path) -> None:
    register(tmp_path, "lsst", SAID | {"maxtimeout": 2.5, "password": SECRET})
    values = read_credentials(tmp_path).layers["lsst"].values["clusters"]["lsst"]
    assert values == {
        "servers": "a:1,b:2",
        "group_id": "g",
        "username": "me",
        "password": SECRET,
        "topics": ["fink_a", "fink_b"],
        "poll_timeout_s": 2.5,
    }


def test_what_is_not_said_stays_and_the_old_file_is_kept(tmp_path: Path) -> None:
    file = register(tmp_path, "ztf", SAID | {"password": SECRET})
    content = yaml.safe_load(file.read_text())
    content["topics"]["fink_a"] = {"slack": {"token": "t", "channel": "c"}}
    file.write_text(yaml.safe_dump(content))
    before = file.read_bytes()
    register(tmp_path, "ztf", {"servers": "c:3", "mytopics": ["fink_a", "fink_c"]})
    now = read_content(tmp_path, "ztf")
    assert (now["servers"], now["username"], now["password"]) == ("c:3", "me", SECRET)
    assert now["topics"] == {"fink_a": {"slack": {"token": "t", "channel": "c"}}, "fink_c": {}}
    backup = tmp_path / "ztf_credentials.yml.bak"
    assert backup.read_bytes() == before
    assert mode(backup) == mode(file) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ztf_credentials.yml",
        "ztf_credentials.yml.bak",
    ]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine: stays\n")
    (tmp_path / "ztf_credentials.yml").symlink_to(other)
    register(tmp_path, "ztf", SAID)
    assert other.read_text() == "mine: stays\n"


def test_the_old_file_of_one_survey_is_where_a_new_one_begins(tmp_path: Path) -> None:
    (tmp_path / "credentials.yml").write_text(
        "username: me\npassword: null\ngroup_id: g\nservers: a:1\nmytopics: [fink_a]\nmaxtimeout: 5\n"
    )
    assert load_credentials("ztf", folder=tmp_path)["maxtimeout"] == 5
    register(tmp_path, "ztf", {"servers": "b:2"})
    assert load_credentials("ztf", folder=tmp_path)["mytopics"] == ["fink_a"]
    with pytest.raises(
        SettingsError, match="no credentials for lsst: run `finkbridge register -survey lsst`"
    ):
        load_credentials("lsst", folder=tmp_path)
    with pytest.raises(SettingsError, match=r"no credentials for mine: .*: clusters\.mine\.topics"):
        load_credentials("mine", folder=tmp_path)


@pytest.mark.parametrize("group", ["groupid", "group_id"])
def test_both_spellings_are_given_back(tmp_path: Path, group: str) -> None:
    (tmp_path / "lsst_credentials.yml").write_text(
        f"survey: lsst\nusername: me\n{group}: g\nservers: a:1\ntopics: {{fink_x: {{}}}}\n"
    )
    conf = load_credentials(survey="lsst", folder=tmp_path)
    assert (conf["groupid"], conf["group_id"], conf["mytopics"], conf["password"]) == (
        "g",
        "g",
        ["fink_x"],
        None,
    )


@pytest.mark.parametrize("missing", ["username", "group_id", "servers"])
def test_what_is_missing_is_named_and_nothing_is_written(tmp_path: Path, missing: str) -> None:
    said = {key: value for key, value in SAID.items() if key != missing}
    with pytest.raises(SettingsError, match=f"ztf: no {missing}: add -{missing}"):
        register(tmp_path, "ztf", said)
    assert [path.name for path in tmp_path.iterdir()] == []


DAMAGED = [f"password: {SECRET}\n  x: [", f"- {SECRET}\n", f"topics: {SECRET}\n"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_not_replaced_nor_repeated_where_too_little_is_said(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "ztf_credentials.yml").write_text(text)
    with pytest.raises(SettingsError, match=r"no list|with -username, -group_id and -servers") as caught:
        register(tmp_path, "ztf", SAID | {"servers": None})
    assert SECRET not in str(caught.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("ztf_credentials.yml", text)]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_written_anew_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "ztf_credentials.yml").write_text(text)
    register(tmp_path, "ztf", SAID)
    assert load_credentials("ztf", folder=tmp_path)["servers"] == "a:1,b:2"
    assert (tmp_path / "ztf_credentials.yml.bak").read_text() == text
    assert "were damaged, and are written anew: the old file is kept" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("maxtimeout", float("nan"), "-maxtimeout: Input should be"),
        ("maxtimeout", float("inf"), "-maxtimeout: Input should be"),
        ("servers", "nohost", "-servers: write host:port"),
        ("group_id", "a\x01b", "-group_id: a character in it"),
        ("username", "a\nb", "-username: a character in it"),
        ("mytopics", ["fink_a", "bad/topic"], "'bad/topic' is no name of a topic"),
        ("mytopics", ["../x*"], r"'\.\./x\*' is no name of a topic"),
    ],
)
def test_what_no_command_would_take_is_not_written(
    tmp_path: Path, key: str, value: object, text: str
) -> None:
    file = register(tmp_path, "ztf", SAID)
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=f"^{text}.*: nothing is written$"):
        register(tmp_path, "ztf", {key: value})
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(file, before)]


def test_an_empty_group_is_told_in_plain_words() -> None:
    with pytest.raises(SettingsError, match=r"^-group_id: it is empty: nothing is written$"):
        check({"group_id": ""}, {})


def test_the_backup_is_of_another_content(tmp_path: Path) -> None:
    file = tmp_path / "ztf_credentials.yml"
    file.write_text("username: theirs\n")
    for _ in range(2):
        register(tmp_path, "ztf", SAID)
    assert (tmp_path / "ztf_credentials.yml.bak").read_text() == "username: theirs\n"


def test_an_odd_topic_that_is_there_already_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "ztf_credentials.yml").write_text(
        "username: me\ngroup_id: g\nservers: a:1\nmytopics: [a/b, fink_a]\n"
    )
    assert remove_topics(tmp_path, "ztf", ["fink_a"]) == ["fink_a"]
    assert load_credentials("ztf", folder=tmp_path)["mytopics"] == ["a/b"]


@pytest.mark.parametrize("survey", ["../x", "a/b", ""])
def test_a_survey_is_no_path(tmp_path: Path, survey: str) -> None:
    with pytest.raises(SettingsError, match="is no survey"):
        register(tmp_path, survey, SAID)


def test_topics_come_and_go(tmp_path: Path) -> None:
    register(tmp_path, "ztf", SAID)
    assert add_topics(tmp_path, "ztf", ["fink_b", "fink_c", "fink_c"]) == ["fink_c"]
    assert remove_topics(tmp_path, "ztf", ["fink_[ab]"]) == ["fink_a", "fink_b"]
    assert load_credentials("ztf", folder=tmp_path)["mytopics"] == ["fink_c"]
    for pattern, text in (("fink_z", "is not one of your topics"), ("x*", "matches none of your topics")):
        with pytest.raises(SettingsError, match=text):
            remove_topics(tmp_path, "ztf", ["fink_c", pattern])
    assert load_credentials("ztf", folder=tmp_path)["mytopics"] == ["fink_c"]
