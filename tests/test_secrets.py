"""A password is nowhere but where its user put it: in no file, output, process list or page of Dagster."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pytest
import yaml
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from finkbridge import layout
from tests.consumer.samples import simulated
from tests.pipelines.conftest import ztf_records
from tests.support.chat import Chat, Reply
from tests.support.command import FINKBRIDGE
from tests.support.dagster_dev import dagster_dev
from tests.support.kafka import Kafka
from tests.support.kafka_server import free_ports
from tests.support.lake import KEPT
from tests.transfer.conftest import add_schema

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

USER = "alice"
LONGEST_S = 120
COMMANDS = [
    "config",
    "config --json",
    "doctor",
    "doctor --json",
    "-vv drain",
    "drain --json --workers 2",
    "status",
    "status --json",
    "certificate --json",
    "sql 'SELECT count(*) FROM alerts'",
    "verify --deep --json",
    "catalog",
    "quarantine list --json",
    "quarantine show {topic}:0:0",
    "-vv quarantine requeue",
    "-vv rebuild",
    "topics list --json",
    "-vv consumer -limit 2 --skip_bad --save -outdir db --display",
    "consumer --display_statistics",
    "-vv transfer -survey ztf -topic {moved} -outdir moved --dump_schemas --verbose",
    "transfer -survey ztf -topic {moved} -outdir more -outformat avro -nconsumers 2 --json",
    "-vv republish {topic} --to {target} --cluster ztf",
    "republish {topic} --to {target} --cluster ztf --json",
    "show ZTF26aairdac --json",
    "viewer -object ZTF26aairdac --save out.html",
]
REFUSED = [
    "-vv drain",
    "drain --json",
    "-vv status",
    "status --json",
    "-vv doctor",
    "doctor --json",
    "-vv consumer",
    "-vv topics list",
    "-vv transfer -survey ztf -topic ftransfer_ztf_1 -outdir moved --verbose",
    "transfer -survey ztf -topic ftransfer_ztf_1 -outdir moved --json",
    "-vv republish fink_a --to replay --cluster ztf",
]
TOKENS = {
    "slack": (
        "FINKBRIDGE_BOT__SLACK__TOKEN",
        "xoxb-12345-Zebra{}",
        "chat.postMessage",
        "-channel C0123456789",
    ),
    "telegram": (
        "FINKBRIDGE_BOT__TELEGRAM__TOKEN",
        "123456:AAF-Zebra_{}",
        "sendMessage",
        "-channel @me",
    ),
    "webhook": ("FINKBRIDGE_BOT__WEBHOOK__TOKEN", "Zebra+/={}", "", ""),
}
"""Variable and form of each service's token, the method that posts, and how a channel is named."""
EVENTS = """{ runsOrError { ... on Runs { results { id status runConfigYaml tags { key value }
    eventConnection { events { __typename ... on MessageEvent { message }
        ... on ErrorEvent { error { message stack } } } } } } }
    assetNodes { assetMaterializations(limit: 5) { metadataEntries { label description } message } }
    instance { info } }"""
TICKS = """{ schedulesOrError(repositorySelector: {repositoryLocationName: "finkbridge",
    repositoryName: "__repository__"}) { ... on Schedules { results { scheduleState {
    ticks { status skipReason error { message stack } } } } } } }"""


def forms(secret: str) -> set[bytes]:
    """Return a secret as it may be written: plain, for URLs, in JSON, in base64 at any position."""
    plain = secret.encode()
    urls = [quote(secret), quote(secret, safe=""), quote_plus(secret)]
    found = {plain, plain.hex().encode(), *(u.encode() for u in urls)}
    found |= {json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(b"\0" * shift + plain)[4 if shift else 0 :][:-4])
    return found


class Home:
    """A home, working and temporary folder in one, and all that was ever said or run in it.

    Parameters
    ----------
    folder
        Empty.
    secret
        The password that must be nowhere.
    """

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder = folder
        self.secret = secret
        self.said: list[str] = []
        self.own_files: set[Path] = set()
        """Where the user wrote the password."""
        self.seen: set[bytes] = set()
        """Command lines, and environments where the password is in none."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FINKBRIDGE_")}
        (folder / "tmp").mkdir()
        self.environ = kept | {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "FINKBRIDGE_WORKERS": "0"}

    def put(self, name: str, text: str) -> Path:
        """Write a file of the user's own, with the password in it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        self.own_files.add(path)
        return path

    def run(self, line: str, **environ: str) -> int:
        """Run a command as a user types it; look at its processes all the time."""
        with (self.folder / "out.txt").open("w+b") as out:
            process = subprocess.Popen(
                f"exec {FINKBRIDGE} {line}",
                shell=True,
                cwd=self.folder,
                env=self.environ | environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            self.watch(process, is_secret_in_environment=self.secret in "".join(environ.values()))
            out.seek(0)
            self.said.append(f"$ finkbridge {line}\n{out.read().decode(errors='replace')}")
        return process.returncode

    def watch(self, process: subprocess.Popen[bytes], *, is_secret_in_environment: bool) -> None:
        """Look at a process and all below it until it ends."""
        until = time.monotonic() + LONGEST_S
        while process.poll() is None:
            self.look_at(process.pid, environ=not is_secret_in_environment)
            if time.monotonic() > until:
                os.killpg(process.pid, signal.SIGKILL)
                pytest.fail(f"not over in {LONGEST_S} s: {self.said[-1:]}")
            time.sleep(0.02)

    def look_at(self, pid: int, *, environ: bool) -> None:
        for process in family(pid):
            for name in ("cmdline", "environ")[: 1 + environ]:
                try:
                    self.seen.add(Path(f"/proc/{process.pid}/{name}").read_bytes())
                except OSError:
                    continue

    def assert_clean(self) -> None:
        """Expect the password nowhere but in the user's own files."""
        wanted = forms(self.secret)
        for text in self.said:
            assert not [f for f in wanted if f in text.encode()], text
        for seen in self.seen:
            assert not [f for f in wanted if f in seen], seen
        files = {p for p in self.folder.rglob("*") if p.is_file()} - self.own_files
        assert files
        for path in files:
            content = path.read_bytes()
            assert not [f for f in wanted if f in content], path


def family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def secret(kafka: Kafka) -> str:
    """Give the user of the tests a password of its own, of the kind that needs quotes and escapes."""
    password = f"Zebra+/=%:@'{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    change = UserScramCredentialUpsertion(USER, how, password.encode())
    for done in admin.alter_user_scram_credentials([change]).values():
        done.result(30)
    return password


@pytest.fixture(scope="module")
def topic(kafka: Kafka) -> str:
    """Return a topic whose first message is bad."""
    name = kafka.topic("fink_secret_ztf")
    kafka.produce(name, [(b"{", b"garbage"), *ztf_records(12)])
    return name


@pytest.fixture
def home(tmp_path: Path, secret: str) -> Iterator[Home]:
    made = Home(tmp_path, secret)
    yield made
    made.assert_clean()


def toml(servers: str, topic: str, password: str, more: str = "") -> str:
    return (
        f'{more}\nbroker_timeout_s = 5\n[clusters.ztf]\nservers = "{servers}"\nusername = "{USER}"\n'
        f'password = {json.dumps(password)}\ntopics = ["{topic}"]\n'
    )


def test_forms_are_found() -> None:
    secret = "Zebra+/=%:@'0123456789"
    for text in (secret, json.dumps({"p": secret}), quote(f"user:{secret}@host")):
        assert [f for f in forms(secret) if f in text.encode()], text
    for lead in ("", "a", "ab", "user:"):
        assert [f for f in forms(secret) if f in base64.b64encode(f"{lead}{secret}".encode())], lead


def test_every_command_with_the_password_in_the_settings_file(kafka: Kafka, topic: str, home: Home) -> None:
    home.put("finkbridge.toml", toml(kafka.sasl_bootstrap, topic, home.secret))
    moved = kafka.topic("ftransfer_ztf", config=KEPT)
    records = simulated("ztf", 4)
    add_schema(kafka, moved, records[0][0] or b"")
    kafka.produce(moved, [(None, value) for _, value in records])
    named = {"topic": topic, "moved": moved, "target": f"replay_{uuid.uuid4().hex[:8]}"}
    codes = {line: home.run(line.format(**named)) for line in COMMANDS}
    assert codes["-vv drain"] == 0, home.said
    assert not {line for line, code in codes.items() if code > 1}, (codes, home.said)
    with subprocess.Popen(
        [FINKBRIDGE, "-vv", "follow"],
        cwd=home.folder,
        env=home.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as follow:
        lock, until = home.folder / "lake" / layout.LOCK, time.monotonic() + LONGEST_S
        while lock.read_text().strip() != str(follow.pid):
            assert time.monotonic() < until
            home.look_at(follow.pid, environ=True)
            time.sleep(0.1)
        follow.send_signal(signal.SIGTERM)
        home.said.append(follow.communicate(timeout=30)[0].decode())
        assert follow.returncode == 143, home.said[-1]


def test_password_in_the_environment(kafka: Kafka, topic: str, home: Home) -> None:
    prefix = "FINKBRIDGE_CLUSTERS__ZTF__"
    given = {f"{prefix}SERVERS": kafka.sasl_bootstrap, f"{prefix}TOPICS": topic, f"{prefix}USERNAME": USER}
    given[f"{prefix}PASSWORD"] = home.secret
    for line in ("-vv drain --workers 1", "config", "config --json", "doctor", "-vv verify"):
        assert home.run(line, **given) in {0, 1}, home.said
    assert home.run("drain", **given, FINKBRIDGE_CLUSTERS__ZTF__PASSWRD=home.secret) == 2


def test_password_in_fink_clients_file(kafka: Kafka, topic: str, home: Home) -> None:
    said = {
        "username": USER,
        "password": home.secret,
        "servers": kafka.sasl_bootstrap,
        "group_id": "secrets",
        "mytopics": [topic],
    }
    path = home.put(".finkclient/ztf_credentials.yml", yaml.safe_dump(said))
    for line in (
        "-vv drain",
        "config",
        "config --json",
        "doctor",
        "status",
        "simulate --n 5 --topic secret_sim",
    ):
        assert home.run(line) in {0, 1}, home.said
    assert (home.folder / "lake/catalog.duckdb").exists()
    path.chmod(0o644)
    home.run("config")
    assert "can be read by others" in home.said[-1]
    assert path.stat().st_mode & 0o777 == 0o644, "the user's own file is the user's to change"
    path.write_text(f"password: '{home.secret}\n servers: [")
    assert home.run("-vv drain") == 2


def test_register(kafka: Kafka, topic: str, home: Home) -> None:
    """It writes the password where it is to be, and nowhere else; nor do those who read it there say it."""
    home.put("secret", home.secret + "\n")
    file = home.folder / ".finkclient" / "ztf_credentials.yml"
    home.own_files |= {file, file.with_name(f"{file.name}.bak")}
    line = (
        f"-vv register -survey ztf -username {USER} -group_id {uuid.uuid4().hex} -mytopics {topic} --verbose"
    )
    line += f" -servers {kafka.sasl_bootstrap} --test"
    assert home.run(f"{line} --password_file secret") == 0, home.said
    assert home.run(line, FINKBRIDGE_CLUSTERS__ZTF__PASSWORD=home.secret) == 0, home.said
    assert yaml.safe_load(file.read_text())["password"] == home.secret
    for reader in ("-vv consumer -limit 1 --skip_bad --save -outdir db", "-vv topics list --json", "config"):
        assert home.run(reader) in {0, 1}, home.said
    assert home.run(f"-vv consumer -limit 1 -maxtimeout 5 {topic}") == 0, home.said
    assert home.run("-vv register -survey ztf -servers nohost") == 2
    file.write_text(f"password: '{home.secret}\n servers: [")
    assert home.run("-vv register -survey ztf --verbose") == 2
    home.secret = home.secret[:-1]  # a wrong one; who says the right one says this one too
    home.put("secret", home.secret + "\n")
    assert home.run(f"{line} --password_file secret") == 1, home.said
    assert "the credentials are refused" in home.said[-1]


@pytest.mark.parametrize("service", TOKENS)
def test_bot(kafka: Kafka, topic: str, tmp_path: Path, service: str) -> None:
    """A token is where it is sent to, and nowhere else: also where the service quotes it, or is not there."""
    variable, form, method, channel = TOKENS[service]
    home = Home(tmp_path, form.format(uuid.uuid4().hex[:12]))
    cluster = "FINKBRIDGE_CLUSTERS__ZTF__"
    assert home.run("drain", **{f"{cluster}SERVERS": kafka.bootstrap, f"{cluster}TOPICS": topic}) == 0
    line = f"-vv bot --to {service} {channel} --since earliest --once --no-picture -rate 6000"
    path = f"hook?key={quote(home.secret, safe='')}"

    def given(url: str) -> dict[str, str]:
        where = ("URL", f"{url}/{path}") if service == "webhook" else ("API", url)
        return {f"FINKBRIDGE_BOT__{service.upper()}__{where[0]}": where[1], variable: home.secret}

    (port,) = free_ports(1)
    assert home.run(f"{line} -limit 1", **given(f"http://127.0.0.1:{port}")) == 1, home.said
    said = {"ok": False, "error": home.secret, "description": home.secret}
    with Chat().serving() as chat:
        chat.say(method or path, Reply(400, json.dumps(said).encode()))
        assert home.run(f"{line} --dry-run", **given(chat.url)) == 0, home.said
        assert home.run(line, **given(chat.url)) == 1, home.said
        assert home.run(line, **given(chat.url)) == 0, home.said
        for got in chat.got:
            assert home.secret in f"{got.path} {got.headers}"
        assert chat.got
    assert home.run(line.replace("earliest", "yesterday"), **given(chat.url)) == 2
    home.assert_clean()


@pytest.mark.parametrize("what", ["wrong", "down"])
def test_refusals(kafka: Kafka, topic: str, tmp_path: Path, what: str) -> None:
    home = Home(tmp_path, f"Wrong+/=%:@'{uuid.uuid4().hex[:12]}")
    (port,) = free_ports(1)
    servers = kafka.sasl_bootstrap if what == "wrong" else f"127.0.0.1:{port}"
    home.put("finkbridge.toml", toml(servers, topic, home.secret))
    for line in [*REFUSED, "-vv simulate --n 5 --topic secret_sim"]:
        assert home.run(line), home.said[-1]
    home.assert_clean()


def test_settings_that_are_wrong_beside_the_password(kafka: Kafka, topic: str, home: Home) -> None:
    servers = kafka.sasl_bootstrap
    right = toml(servers, topic, home.secret)
    wrong = [
        right.replace("password =", "pasword ="),
        right.replace(f'username = "{USER}"\n', ""),
        right.replace("password = ", "password = [") + "\n",
        right.replace("password = ", "password = ["),
        right.replace(f"password = {json.dumps(home.secret)}", f'password = "{home.secret}'),
        right + f"kafka = {{'sasl.password' = {json.dumps(home.secret)}, 'no.such.key' = 1}}\n",
        right + f"kafka = {{'ssl.key.password' = {json.dumps(home.secret)}, 'security.protocol' = 'SSL'}}\n",
    ]
    for text in wrong:
        home.put("finkbridge.toml", text)
        for line in ("-vv drain", "-vv doctor --json"):
            assert home.run(line), (text, home.said[-1])
    home.put("finkbridge.toml", right + "kafka = {debug = 'all'}\n")
    home.run("-vv drain")
    (home.folder / "lake").rename(home.folder / "was")
    (home.folder / "lake").mkdir()
    (home.folder / "lake/ledger.db").write_bytes(b"no database " * 1000)
    home.put("finkbridge.toml", right)
    for line in ("-vv drain", "-vv verify", "-vv rebuild"):
        assert home.run(line)


def test_ledger_url(kafka: Kafka, topic: str, home: Home) -> None:
    (port,) = free_ports(1)
    for scheme in ("postgresql", "postgresql+psycopg", "mysql"):
        url = f"{scheme}://{USER}:{quote(home.secret, safe='')}@127.0.0.1:{port}/db"
        home.put("finkbridge.toml", f"ledger = {json.dumps(url)}\n" + toml(kafka.bootstrap, topic, "x"))
        for line in ("-vv drain", "-vv status", "-vv verify --json", "-vv doctor", "-vv sql 'SELECT 1'"):
            assert home.run(line), home.said[-1]
        home.run("config")
        home.run("config --json")


def test_dagster(kafka: Kafka, topic: str, home: Home) -> None:
    config = home.put("finkbridge.toml", toml(kafka.sasl_bootstrap, topic, home.secret))
    dagster_home = home.folder / "dagster_home"
    dagster_home.mkdir()
    environ = home.environ | {
        "FINKBRIDGE_CONFIG": str(config),
        "FINKBRIDGE_LAKE": str(home.folder / "lake"),
        "FINKBRIDGE_SCHEDULE__CRON": "* * * * *",
    }
    with dagster_dev(dagster_home, environ) as dev:
        assert dev.ended(dev.launch("drain", {})) == "SUCCESS", (dagster_home / "dev.log").read_text()
        config.write_text(toml(kafka.sasl_bootstrap, topic, home.secret + "not"))
        assert dev.ended(dev.launch("drain", {})) == "FAILURE"
        home.look_at(dev.process.pid, environ=True)
        home.said += [json.dumps(dev.ask(EVENTS)), json.dumps(dev.ask(TICKS))]
        assert "MaterializationEvent" in home.said[-2]
        assert all_loopback(listening(dev.process.pid))
    assert list(dagster_home.rglob("*.err")), "compute logs are looked at too"


def test_embedded_broker_listens_on_loopback_only(tmp_path: Path) -> None:
    home = Home(tmp_path, "unused-but-needed")
    with subprocess.Popen(
        [FINKBRIDGE, "broker", "--json"], stdout=subprocess.PIPE, env=home.environ, cwd=tmp_path
    ) as broker:
        assert broker.stdout is not None
        assert b"{" in broker.stdout.readline()
        assert all_loopback(listening(broker.pid))
        broker.send_signal(signal.SIGTERM)
        broker.communicate(timeout=30)


def test_commands_of_the_makefile_ask_for_loopback() -> None:
    makefile = Path(__file__).parents[1].joinpath("Makefile").read_text()
    lines = [line for line in makefile.splitlines() if "dagster dev" in line]
    assert len(lines) == 2
    assert all(" -h 127.0.0.1 " in line for line in lines)


def listening(pid: int) -> list[str]:
    """Return the addresses that a process and all below it listen on."""
    inodes = set()
    for process in family(pid):
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    found = []
    for table, kind in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
                found.append(_address(words[1].partition(":")[0], kind))
    return found


def _address(text: str, kind: socket.AddressFamily) -> str:
    raw = bytes.fromhex(text)
    words = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    swapped = b"".join(w[::-1] if sys.byteorder == "little" else w for w in words)
    return socket.inet_ntop(kind, swapped)


def all_loopback(addresses: list[str]) -> bool:
    assert addresses, "nothing listens: is the test looking at the right processes?"
    return all(a.startswith(("127.", "::1", "::ffff:127.")) for a in addresses)
