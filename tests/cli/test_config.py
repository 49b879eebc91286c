"""``finkbridge config``: every key with its value and source, secrets masked, and the files read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finkbridge.cli.main import main
from finkbridge.layers import known_keys
from finkbridge.settings import Settings

SECRET = "hunter2-very-secret"

TOML = f"""
ledger = "postgresql://me:{SECRET}@localhost/db"
[clusters.lsst]
servers = "lsst.example:9092"
group_id = "mine"
[drain]
start = 2026-01-31T18:00:00Z
"""

CREDENTIALS = f"""
survey: ztf
username: alice
password: {SECRET}
servers: ztf.example:9093
groupid: alice_group
mytopics: [fink_sso_ztf, "fink_*_ztf"]
ssl.key.password: {SECRET}
maxtimeout: 10
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def configured(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (home / "finkbridge.toml").write_text(TOML)
    (home / ".finkclient").mkdir()
    path = home / ".finkclient" / "ztf_credentials.yml"
    path.write_text(CREDENTIALS)
    path.chmod(0o600)
    monkeypatch.setenv("FINKBRIDGE_WORKERS", "2")
    return path


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert SECRET not in captured.out
    return captured.out


def test_json_has_every_key_with_its_source(configured: Path, capsys):
    result = json.loads(output(capsys, "config", "--json", "--lake", "there"))
    rows = {row["key"]: (row["value"], row["source"]) for row in result["settings"]}
    assert rows["lake"] == ("there", "command option")
    assert rows["workers"] == (2, "FINKBRIDGE_WORKERS")
    assert rows["ledger"] == ("********", "finkbridge.toml")
    assert rows["drain.start"] == ("2026-01-31T18:00:00+00:00", "finkbridge.toml")
    assert rows["drain.max_messages"] == (None, "default")
    assert rows["merge.files"] == (64, "default")
    assert rows["clusters.ztf.password"] == ("********", str(configured))
    assert rows["clusters.ztf.kafka.ssl.key.password"] == ("********", str(configured))
    assert rows["clusters.ztf.topics"] == (["fink_sso_ztf", "fink_*_ztf"], str(configured))
    assert rows["clusters.lsst.group_id"] == ("mine", "finkbridge.toml")
    assert rows["clusters.lsst.password"] == (None, "default")
    assert set(known_keys(Settings)) - rows.keys() == {"clusters.ztf.kafka"}
    assert result["config"] == "finkbridge.toml"
    assert result["credential_files"] == [str(configured)]
    assert result["clusters"] == {"ztf": "SCRAM-SHA-512 as alice", "lsst": "without password"}


def test_text_is_aligned_and_says_what_was_read(configured: Path, capsys):
    lines = output(capsys, "config").splitlines()
    assert lines[0].split() == ["setting", "value", "source"]
    rows = {line.split()[0]: line for line in lines[1:] if line}
    assert rows["workers"].split() == ["workers", "2", "FINKBRIDGE_WORKERS"]
    assert rows["memory_bytes"].split() == ["memory_bytes", "1073741824", "default"]
    source = lines[0].index("source")
    assert rows["workers"].index("FINKBRIDGE_WORKERS") == rows["memory_bytes"].index("default") == source
    assert "settings file: finkbridge.toml" in lines
    assert f"credential files: {configured}" in lines
    assert "cluster ztf: ztf.example:9093, SCRAM-SHA-512 as alice" in lines
    assert "cluster lsst: lsst.example:9092, without password" in lines


def test_file_for_other_servers_is_told(configured: Path, capsys, monkeypatch):
    monkeypatch.setenv("FINKBRIDGE_CLUSTERS__ZTF__SERVERS", "localhost:9092")
    out = output(capsys, "config")
    assert f"{configured} is not used: cluster ztf is set to other servers" in out
    assert "cluster ztf: localhost:9092, without password" in out


def test_nothing_set_says_what_to_do(home: Path, capsys):
    out = output(capsys, "config")
    assert "no cluster yet: set clusters.ztf.servers in finkbridge.toml, or run finkbridge register" in out
    assert f"credential files: none in {home / '.finkclient'}" in out


def test_open_file_is_warned_of_on_stderr(configured: Path, capsys):
    configured.chmod(0o644)
    assert main(["config", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("finkbridge: warning: ")
    assert f"chmod 600 {configured}" in captured.err
    json.loads(captured.out)


def test_broken_credentials_are_one_line(configured: Path, capsys):
    configured.write_text(f"password: [{SECRET}")
    assert main(["config"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{configured} is not valid YAML" in captured.err
    assert SECRET not in captured.err
