"""Every command of the page for users of fink-client runs as it is written, against a real Kafka."""

from __future__ import annotations

import pydoc
import re
import shlex
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.consumer.samples import simulated, values_of
from tests.support.chat import Chat
from tests.support.command import Command
from tests.support.kafka import Kafka
from tests.support.lake import KEPT
from tests.transfer.conftest import add_schema

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PAGE = (Path(__file__).parents[1] / "docs" / "from-fink-client.md").read_text()
LINES = re.findall(r"^    finkbridge (.+)$", PAGE, re.MULTILINE)
ALERTS = 6
ENDLESS = ("follow",)
"""Commands that run until they are told to end."""


def rows(section: str) -> Iterator[list[str]]:
    """Yield the cells of a section's table, its header left out."""
    table = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    for line in table.splitlines():
        if line.startswith("|") and "---" not in line:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def words_of(command: str) -> set[str]:
    return {word for line in LINES if line.startswith(command) for word in shlex.split(line)}


class World:
    """A home with nothing in it, the topics that the page names, and what its commands said."""

    def __init__(self, kafka: Kafka, folder: Path, chat: Chat) -> None:
        self.command = Command(folder, "")
        kept = {k: v for k, v in self.command.environ.items() if not k.startswith("FINKBRIDGE_")}
        self.command.environ = kept | {"FINKBRIDGE_BOT__WEBHOOK__URL": f"{chat.url}/hook"}
        alerts, moved = simulated("ztf", ALERTS), kafka.topic("ftransfer_ztf", config=KEPT)
        self.named = {
            "HOST:PORT": kafka.bootstrap,
            "fink_sn_ztf": kafka.topic("fink_sn_ztf", config=KEPT),
            "fink_kn_ztf": kafka.topic("fink_kn_ztf"),
            "ftransfer_ztf_1": moved,
            "ZTF26aamcbly": "ZTF26aairdac",
            "replay": f"replay_{uuid.uuid4().hex[:8]}",
        }
        kafka.produce(self.named["fink_sn_ztf"], alerts)
        key = alerts[0][0] or b""
        add_schema(kafka, moved, key)
        kafka.produce(moved, [(None, value) for _, value in alerts])
        (folder / "schema.avsc").write_bytes(key)
        self.chat = chat
        self.codes: dict[str, int] = {}
        self.said: dict[str, str] = {}

    def run(self, line: str) -> None:
        words = [self.named.get(word, word) for word in shlex.split(line)]
        if words[0] in ENDLESS:
            with self.command.start(*words) as running:
                running.await_lock(self.command.lake)
                self.codes[line] = running.end(signal.SIGTERM) - 143
                self.said[line] = running.said()
            return
        try:
            done = self.command.run(*words, stdin=subprocess.DEVNULL)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.codes[line], self.said[line] = -1, str(error)
        else:
            self.codes[line], self.said[line] = 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All commands of the page have run, in its order."""
    with Chat().serving() as chat:
        made = World(kafka, tmp_path_factory.mktemp("home"), chat)
        for line in LINES:
            made.run(line)
        yield made


@pytest.mark.parametrize("line", LINES)
def test_it_runs(world: World, line: str) -> None:
    assert world.codes[line] == 0, world.said[line]


def test_they_do_what_they_say(world: World) -> None:
    folder = world.command.folder
    saved = [values_of(path)[0]["candid"] for path in folder.glob("alertDB/*.avro")]
    assert len(set(saved)) == 4
    assert len(list(folder.glob("schema_*.json"))) == 1
    for name, count in (("alerts", ALERTS), ("anew", ALERTS), ("all", ALERTS)):
        found = duckdb.sql(f"SELECT count(DISTINCT candid), count(*) FROM '{folder}/{name}/**/*.parquet'")
        assert found.fetchall() == [(count, count)]
    assert sum(len(values_of(path)) for path in folder.glob("few/**/*.avro")) == 3
    assert len(world.chat.got) == ALERTS
    assert (folder / "alerts.html").read_text().startswith("<")
    assert f"{world.named['fink_sn_ztf']}: {ALERTS} messages = {ALERTS} in" in "".join(world.said.values())


def test_every_command_of_the_page_is_typed_once() -> None:
    """A command that a table names has a line of its own, and so is run."""
    named = set()
    for cells in list(rows("Commands"))[1:]:
        for text in re.findall(r"`([a-z ]+)", cells[1]):
            named.add(text.removeprefix("finkbridge ").strip())
    assert {"register", "topics remove", "consumer", "transfer", "bot", "viewer", "follow"} <= named
    assert {name for name in named if not any(line.startswith(name) for line in LINES)} == set()


NOT_TYPED = {
    "-h",
    "--help",
    "-password",
    "-telegram_token",
    "-telegram_channel",
    "-slack_token",
    "-slack_channel",
}
"""Options that are something else here, as the page says, or click's own."""
BOTS = {"--telegram", "--slack"}
TYPED = {word for line in LINES for word in shlex.split(line)}


@pytest.mark.parametrize("cells", list(rows("Options"))[1:], ids=lambda cells: cells[0])
def test_every_option_of_the_page_is_typed_once(cells: list[str]) -> None:
    named = set(re.findall(r"`(--?\w+)", cells[0])) - NOT_TYPED - BOTS
    assert named - TYPED == set()


OPTIONS = """-f -filename -survey -username -groupid -group_id -servers -maxtimeout -log_level --tmp
-mytopics -password --verbose -name -telegram_token -telegram_channel -slack_token -slack_channel -limit
-start_at -outdir -schema -ext_schema --display_statistics --display --save --telegram --slack
--dump_schema --available_topics -topic -outformat -partitionby -batchsize -nconsumers -number_partitions
--restart_from_beginning --dump_schemas -h --help"""
"""Of all commands of fink-client 12.3.0 and 7.0, as their ``--help`` names them."""

NAMES = """AlertReader to_pandas to_list to_iterator write_alert write_alerts encode_into_avro
get_legal_topic_name _get_alert_schema _decode_avro_alert avro_to_arrow avro_schema_to_arrow_schema
avro_type_to_arrow_type transform_records transform_value create_partitioning escape status_check
send_simple_text_tg msg_handler_tg msg_handler_tg_cutouts msg_handler_slack get_cutout get_curve_ztf
get_curve_lsst flux_to_mag check_survey_exists write_credentials load_credentials add_topic remove_topic
mm_topic_names AlertError AlertConsumer process_message poll consume poll_and_write available_topics
available_brokers close return_offsets return_last_offsets print_offsets return_npartitions
return_partition_offset get_schema_from_stream extract_id_from_lsst display_alerts_as_table store_alert
send_to_telegram send_to_slack get_fink_logger regular_unit_tests readstamp plot_cutout show_stamps
extract_history extract_field"""
"""Public names of fink-client 12.3.0 and 7.0, and the private ones that scripts use."""

COMMANDS = [
    "fink_consumer",
    "fink_datatransfer",
    "fink_client_register",
    "fink_alert_viewer",
    "finkctl auth register",
]
COMMANDS += ["finkctl auth show", "finkctl topic list", "finkctl topic subscribe", "finkctl stream"]
COMMANDS += ["finkctl transfer", "finkctl search"]


@pytest.mark.parametrize(
    ("section", "names"),
    [("Options", OPTIONS.split()), ("Library", NAMES.split()), ("Commands", COMMANDS)],
)
def test_everything_of_fink_client_is_on_the_page(section: str, names: list[str]) -> None:
    theirs = " ".join(cells[0] for cells in rows(section))
    assert [n for n in names if not re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", theirs)] == []


LIBRARY = PAGE.partition("## Library")[2]
NAMED = set(re.findall(r"`(finkbridge(?:\.\w+)+)", LIBRARY))
for module, names in re.findall(r"`(finkbridge[.\w]+)`: ((?:`\w+`(?:, )?)+)", LIBRARY):
    NAMED |= {f"{module}.{name}" for name in re.findall(r"\w+", names)}


@pytest.mark.parametrize("path", sorted(NAMED))
def test_what_the_page_gives_in_place_of_it_is_there(path: str) -> None:
    assert len(NAMED) > 15
    assert pydoc.locate(path) is not None
