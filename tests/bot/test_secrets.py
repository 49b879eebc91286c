"""Where tokens may be: in the environment, or in files that are their owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge.bot.secrets import all_secrets, read_secret, require_secret
from finkbridge.errors import SettingsError
from finkbridge.settings import Loaded, load_settings, secret_values

TOKEN = "123456:AAF-very_secret"
KEY = "bot.telegram.token"


def load(value: str | None) -> Loaded:
    return load_settings(environ={"FINKBRIDGE_BOT__TELEGRAM__TOKEN": value or "", "HOME": "/nonexistent"})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_the_environment() -> None:
    assert read_secret(load(TOKEN), KEY) == TOKEN
    assert TOKEN in all_secrets(load(TOKEN))
    assert TOKEN in secret_values(load(TOKEN).settings)
    assert TOKEN not in repr(load(TOKEN))
    assert read_secret(load(None), KEY) is None
    with pytest.raises(SettingsError, match="FINKBRIDGE_BOT__TELEGRAM__TOKEN"):
        require_secret(load(None), KEY)


def test_what_gives_an_address_away_is_a_secret() -> None:
    url = "https://host/services/T0001/x1Y2z3A4b5C6"
    loaded = load_settings(environ={"FINKBRIDGE_BOT__WEBHOOK__URL": url, "HOME": "/nonexistent"})
    for found in (all_secrets(loaded), secret_values(loaded.settings)):
        assert {url, "/services/T0001/x1Y2z3A4b5C6", "x1Y2z3A4b5C6"} <= set(found)


def test_from_a_file_of_its_own(home: Path) -> None:
    file = home / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_secret(load(f"file:{file}"), KEY) == TOKEN
    for mode in (0o640, 0o604, 0o620, 0o644):
        file.chmod(mode)
        with pytest.raises(SettingsError, match="run chmod 600") as caught:
            read_secret(load(f"file:{file}"), KEY)
        assert TOKEN not in str(caught.value)
    with pytest.raises(SettingsError, match="No such file"):
        read_secret(load("file:absent"), KEY)


def test_from_the_settings_file(home: Path) -> None:
    file = home / "finkbridge.toml"
    file.write_text(f'[bot.telegram]\ntoken = "{TOKEN}"\n')
    file.chmod(0o600)
    assert read_secret(load(None), KEY) == TOKEN
    file.chmod(0o644)
    with pytest.raises(SettingsError, match=r"chmod 600 finkbridge.toml"):
        read_secret(load(None), KEY)
    assert read_secret(load("another:token"), KEY) == "another:token"
    other = home / "token"
    other.write_text(TOKEN)
    other.chmod(0o600)
    file.write_text(f'[bot.telegram]\ntoken = "file:{other}"\n')
    assert read_secret(load(None), KEY) == TOKEN


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb", b"\xff\xfe", b"t\xc3\xb6ken", b"a\x00b"])
def test_what_is_no_token_is_not_repeated(home: Path, content: bytes) -> None:
    file = home / "token"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        read_secret(load(f"file:{file}"), KEY)
    assert "two words" not in str(caught.value)


def test_a_bad_setting_is_not_repeated(home: Path) -> None:
    (home / "finkbridge.toml").write_text(f'[bot.telegram]\ntoken = ["{TOKEN}"]\n')
    with pytest.raises(SettingsError) as caught:
        load(None)
    assert TOKEN not in str(caught.value)
