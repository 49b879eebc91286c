"""``finkbridge register`` and ``topics``: fink-client's option names, its file, and its own reading of it."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from finkbridge.broker.produce import create_topic
from finkbridge.settings import ClusterSettings
from tests.consumer.samples import real, simulated
from tests.support.command import FINKBRIDGE, Command
from tests.support.kafka import Kafka

SECRET = "hunter2-very-secret"


@pytest.fixture
def command(tmp_path: Path) -> Command:
    made = Command(tmp_path, "unused:1")
    made.environ = {k: v for k, v in made.environ.items() if not k.startswith("FINKBRIDGE_")}
    return made


def content(command: Command, survey: str = "ztf") -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(
        (command.folder / ".finkclient" / f"{survey}_credentials.yml").read_text()
    )
    return found


def test_the_command_of_the_manual(command: Command) -> None:
    done = command.run(
        *("register", "-survey", "ztf", "-username", "ME", "-group_id", "G", "-mytopics", "fink_a", "fink_b"),
        *("-servers", "h:24499", "-maxtimeout", "5", "--verbose", "-password", "None"),
    )
    assert "credentials of ztf are in" in done.stdout
    assert "mytopics: fink_a, fink_b" in done.stdout
    assert content(command)["mytopics"] == ["fink_a", "fink_b"]
    assert content(command)["maxtimeout"] == 5


def test_finkctls_spelling(command: Command) -> None:
    options = ("-survey", "lsst", "-username", "ME", "-groupid", "G", "-servers", "h:1", "-log_level", "INFO")
    command.run("register", *options)
    assert content(command, "lsst")["groupid"] == "G"


def test_a_password_never_comes_by_the_command_line(command: Command) -> None:
    done = command.run("register", "-survey", "ztf", "-password", SECRET, code=2)
    assert "can be read by everybody on this machine" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_password_from_a_file_and_from_the_environment(command: Command) -> None:
    options = (
        "register",
        "-survey",
        "ztf",
        "-username",
        "ME",
        "-group_id",
        "G",
        "-servers",
        "h:1",
        "--verbose",
    )
    (command.folder / "secret").write_text(f"{SECRET}\nmore\n")
    done = command.run(*options, "--password_file", "secret")
    assert content(command)["password"] == SECRET
    command.environ = {**command.environ, "FINKBRIDGE_CLUSTERS__ZTF__PASSWORD": "from-there"}
    done = command.run(*options)
    assert content(command)["password"] == "from-there"
    assert "password: ********" in done.stdout
    assert SECRET not in done.stdout
    done = command.run(*options, "--password_file", "none", code=2)
    assert "cannot read the password file none: No such file" in done.stderr


@pytest.mark.parametrize("text", ["", "\n", f"\r\n{SECRET}\n"])
def test_an_empty_password_file_is_refused_and_changes_nothing(command: Command, text: str) -> None:
    (command.folder / "secret").write_text(SECRET)
    options = ("register", "-survey", "ztf", "-username", "ME", "-group_id", "G", "-servers", "h:1")
    command.run(*options, "--password_file", "secret")
    (command.folder / "empty").write_text(text)
    done = command.run(*options, "-maxtimeout", "5", "--password_file", "empty", code=2)
    assert done.stderr == (
        "finkbridge: error: the first line of the password file empty is empty: write the password there, or "
        "leave --password_file out (-password None takes a password away)\n"
    )
    assert (content(command)["password"], content(command)["maxtimeout"]) == (SECRET, 10)


@pytest.mark.parametrize("word", ["None", "null", ""])
def test_fink_clients_words_for_no_password_take_the_old_one_away(command: Command, word: str) -> None:
    (command.folder / "secret").write_text(SECRET)
    options = ("register", "-survey", "ztf", "-username", "ME", "-group_id", "G", "-servers", "h:1")
    command.run(*options, "--password_file", "secret")
    command.run(*options)
    assert content(command)["password"] == SECRET
    command.run(*options, "-password", word)
    assert content(command)["password"] is None
    command.run(*options, "-password", word, "--password_file", "secret")
    assert content(command)["password"] == SECRET


def test_what_is_missing_is_one_line_where_nobody_can_be_asked(command: Command) -> None:
    done = command.run("register", "-survey", "ztf", code=2, stdin=subprocess.DEVNULL)
    assert done.stderr == (
        "finkbridge: error: ztf: no username and no group_id and no servers: add -username and -group_id and "
        "-servers\n"
    )
    done = command.run("register", code=2, stdin=subprocess.DEVNULL)
    assert "which survey? add -survey ztf or -survey lsst" in done.stderr


def converse(command: Command, *arguments: str, answers: Sequence[str] = ()) -> tuple[int, str]:
    """Answer each question on a terminal; return the exit code and what was said."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [FINKBRIDGE, "register", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=command.environ, cwd=command.folder,
    ) as process:  # fmt: skip
        os.close(theirs)
        said, left = b"", iter(answers)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            try:
                said += os.read(ours, 1000)
            except OSError:
                break
            if said.endswith(b": "):
                os.write(ours, next(left).encode() + b"\n")
                said += b"|"
        code = process.wait(10)
    os.close(ours)
    assert not list(left), said
    return code, said.decode()


def test_it_asks_on_a_terminal(command: Command) -> None:
    answers = ["ztf", "ME", SECRET, "G", "h:1", "fink_a,fink_b"]
    code, said = converse(command, "--ask_password", answers=answers)
    assert code == 0, said
    asked = [line.partition("|")[0] for line in said.splitlines() if "|" in line]
    assert [line.partition(" ")[0].rstrip(":") for line in asked] == [
        "Survey", "Username", "Password", "Group", "Servers", "Topics"
    ]  # fmt: skip
    assert SECRET not in said
    assert content(command) | {"topics": 0} == content(command) | {
        "topics": 0,
        "username": "ME",
        "password": SECRET,
        "group_id": "G",
        "servers": "h:1",
        "mytopics": ["fink_a", "fink_b"],
    }


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("-servers", "nonsense"), "write host:port"),
        (("-servers", "host:65536"), "a port is a number from 1 to 65535"),
        (("-mytopics", "no/topic"), "no name of a"),
    ],
)
def test_what_is_said_is_looked_at_before_anything_is_asked(
    command: Command, wrong: tuple[str, str], why: str
) -> None:
    code, said = converse(command, "-survey", "ztf", "--ask_password", *wrong)
    assert code == 2
    assert said.startswith("finkbridge: error: ")
    assert why in said
    assert said.count("\n") == 1
    assert not (command.folder / ".finkclient").exists()


def test_an_answer_that_cannot_be_is_asked_for_again(command: Command) -> None:
    answers = ["ME", "G", "nonsense", "h:1", "no/topic", ""]
    code, said = converse(command, "-survey", "ztf", answers=answers)
    assert code == 0, said
    assert "Error: -servers: write host:port, several with commas between" in said
    assert (content(command)["servers"], content(command)["mytopics"]) == ("h:1", [])


def test_the_file_is_private_whatever_the_umask(command: Command) -> None:
    options = ("register", "-survey", "ztf", "-username", "M", "-group_id", "G", "-servers", "h:1")
    command.run(*options, umask=0)
    file = command.folder / ".finkclient" / "ztf_credentials.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_damaged_file_is_written_anew_by_the_command_that_its_error_names(command: Command) -> None:
    file = command.folder / ".finkclient" / "ztf_credentials.yml"
    file.parent.mkdir()
    file.write_text("a: [b")
    file.chmod(0o600)
    said = command.run("consumer", "fink_a", code=2).stderr
    assert "run `finkbridge register` with -username, -group_id and -servers" in said
    assert said == command.run("register", "-survey", "ztf", "-username", "a", code=2).stderr
    done = command.run("register", "-survey", "ztf", "-username", "a", "-group_id", "b", "-servers", "h:1")
    assert "were damaged, and are written anew" in done.stderr
    assert content(command)["servers"] == "h:1"
    assert file.with_name(f"{file.name}.bak").read_text() == "a: [b"


@pytest.mark.kafka
def test_a_trial_connects(kafka: Kafka, command: Command) -> None:
    topic = kafka.topic("fink_t")
    options = ("register", "-survey", "ztf", "-username", kafka.username, "-group_id", "G")
    done = command.run(*options, "-servers", kafka.bootstrap, "-mytopics", topic, "--test")
    assert f"connected to {kafka.bootstrap}" in done.stdout
    assert "all 1 of your topics are there" in done.stdout
    done = command.run(*options, "-mytopics", "fink_nope", "--test", code=1)
    assert "cluster ztf has no topic fink_nope now" in done.stderr
    (command.folder / "secret").write_text(SECRET)
    options = (*options, "-servers", kafka.sasl_bootstrap, "--password_file", "secret")
    done = command.run(*options, "--test", code=1)
    assert "the credentials are refused" in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.kafka
def test_topics(kafka: Kafka, command: Command, shared_data: Path) -> None:
    mark = uuid.uuid4().hex[:6]
    full, empty = kafka.topic(f"fink_{mark}_full", 2), kafka.topic(f"fink_{mark}_empty")
    kafka.produce(full, real(shared_data, "ztf")[:4], timestamps=[1767225600000 + n for n in range(4)])
    options = ("-survey", "ztf", "-username", "M", "-group_id", "G", "-servers", kafka.bootstrap)
    command.run("register", *options, "-mytopics", "fink_gone")
    done = command.run("topics", "add", "-survey", "ztf", f"fink_{mark}_*", full)
    assert done.stdout.splitlines() == [f"{empty}: added", f"{full}: added"]
    assert content(command)["mytopics"] == ["fink_gone", empty, full]
    (one, two) = command.json("topics", "list", f"fink_{mark}_*")["topics"]
    assert one == {
        "name": empty,
        "is_mine": True,
        "partitions": 1,
        "messages": 0,
        "bytes": None,
        "retention_s": 604800.0,
        "oldest_ms": None,
        "newest_ms": None,
        "version": None,
    }
    assert (two["name"], two["partitions"], two["messages"]) == (full, 2, 4)
    assert (two["oldest_ms"], two["newest_ms"]) == (1767225600000, 1767225600003)
    assert two["version"].startswith("4.02 4.1 ")
    assert 4 * 60_000 < two["bytes"] < 4 * 120_000
    rows = [line.split() for line in command.run("topics", "list", "--mine").stdout.splitlines()]
    assert [row[:3] for row in rows[1:]] == [[empty, "yes", "0"], [full, "yes", "4"]]
    done = command.run("topics", "remove", "-name", "fink_gone", f"fink_{mark}_e*")
    assert done.stdout.splitlines() == ["fink_gone: removed", f"{empty}: removed"]
    assert content(command)["mytopics"] == [full]
    assert "is not one of your topics" in command.run("topics", "remove", "fink_gone", code=2).stderr
    assert "has no topic fink_nope" in command.run("topics", "add", "fink_nope", code=1).stderr
    assert "no topic that matches nope_*: see `topics list`; counting topics (fink_ztf_YYYYMMDD) and" in (
        command.run("topics", "add", "nope_*", code=1).stderr
    )
    command.run("topics", "add", "fink_later", "--unchecked")
    assert content(command)["mytopics"] == [full, "fink_later"]
    assert "name the topics" in command.run("topics", "add", code=2).stderr


@pytest.mark.kafka
def test_fink_clients_own_reading_of_the_file(kafka: Kafka, command: Command) -> None:
    """What fink-client 12 does with the file: it reads YAML, and takes these keys from it."""
    topic = kafka.topic("fink_t")
    kafka.produce(topic, simulated("ztf", 1))
    options = ("-survey", "ztf", "-username", "M", "-group_id", "G", "-servers", kafka.bootstrap)
    command.run("register", *options, "-mytopics", topic)
    code = (
        "import yaml, json, sys; c = yaml.load(open(sys.argv[1]), Loader=yaml.FullLoader); "
        "print(json.dumps([c['servers'], c['groupid'], c['group_id'], list(c['topics']), c['mytopics'], "
        "c['survey'], c['maxtimeout'], c['password']]))"
    )
    file = command.folder / ".finkclient" / "ztf_credentials.yml"
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [kafka.bootstrap, "G", "G", [topic], [topic], "ztf", 10, None]


def test_a_password_file_without_end_is_refused(command: Command) -> None:
    options = ("register", "-survey", "ztf", "-username", "M", "-group_id", "G", "-servers", "h:9")
    done = command.run(*options, "--password_file", "/dev/zero", code=2)
    assert "cannot read the password file /dev/zero: its first line has no end" in done.stderr


@pytest.mark.kafka
def test_a_schema_beside_its_topic_tells_the_version_too(
    kafka: Kafka, command: Command, shared_data: Path
) -> None:
    """As Fink has it for transfers."""
    topic = kafka.topic("ftransfer_ztf_versions")
    (key, value), *_ = real(shared_data, "ztf")
    kafka.produce(topic, [(None, value)])
    create_topic(ClusterSettings(servers=kafka.bootstrap), f"{topic}_schema", 1)
    kafka.produce(f"{topic}_schema", [(key, b"")])
    options = ("-survey", "ztf", "-username", "M", "-group_id", "G", "-servers", kafka.bootstrap)
    command.run("register", *options)
    (told,) = command.json("topics", "list", topic)["topics"]
    assert told["version"].startswith("4.02 4.1 ")
