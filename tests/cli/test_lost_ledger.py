"""A lake whose ledger is lost, or a new and blank one: no command says that there is nothing in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import finkbridge
from finkbridge import layout
from finkbridge.errors import LakeAccessError
from finkbridge.ledger import Ledger
from tests.support.command import Command
from tests.support.lake import data_files
from tests.support.offline import fill, messages_of, point

COMMANDS = (
    ("certificate",),
    ("certificate", "20260320", "--json"),
    ("sql", "SELECT count(*) FROM deliveries"),
    ("show", "ZTF26aamcbly"),
    ("status",),
    ("quarantine", "list"),
    ("catalog",),
    ("republish", "t", "--to", "u", "--servers", "127.0.0.1:1"),
    ("drain", "t"),
    ("rebuild",),
)


pytestmark = pytest.mark.slow


@pytest.fixture(params=["deleted", "blank", "empty"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Command:
    command = Command(tmp_path, "127.0.0.1:1")
    fill(command.lake, {"t": messages_of([point(float(n)) for n in range(4)])})
    for path in command.lake.glob("ledger.db*"):
        path.unlink()
    if request.param == "blank":
        Ledger(command.lake, create=True).close()
    if request.param == "empty":
        (command.lake / layout.LEDGER).touch()
    return command


def test_every_command_says_that_the_ledger_is_lost(command: Command) -> None:
    before, was_there = data_files(command.lake), (command.lake / layout.LEDGER).exists()
    for words in COMMANDS:
        done = command.run(*words, code=1)
        assert "has an archive and its ledger is lost" in done.stderr, (words, done)
        assert "finkbridge rebuild --ledger" in done.stderr
        assert done.stdout == "", words
    with pytest.raises(LakeAccessError, match="its ledger is lost"):
        finkbridge.scan("deliveries", command.lake)
    (finding,) = command.json("verify", code=1)["findings"][:1]
    assert "rebuild --ledger" in finding["remedy"]
    assert data_files(command.lake) == before
    assert (command.lake / layout.LEDGER).exists() == was_there, "a new one would look like an old copy"
    command.run("rebuild", "--ledger")
    assert '"count_star()": 4' in command.run("sql", COMMANDS[2][1], "--json").stdout
