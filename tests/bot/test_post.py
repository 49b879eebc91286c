"""What is said of an alert: whatever senders wrote, it is short, and commands no service."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finkbridge.bot import slack, telegram
from finkbridge.bot.post import alerts_of, post_of
from finkbridge.settings import BotSettings

TIME = datetime(2026, 3, 22, 11, 0, 5, tzinfo=UTC)
ROW: dict[str, Any] = {
    "survey": "ztf", "object_id": "ZTF26aamcbly", "source_id": 3367463101415010117, "class": "SN candidate",
    "band": "r", "mag": 16.449, "mag_err": 0.091, "flux": -955621.0, "is_positive": False, "mjd": 61121.46310,
    "ra": 267.0, "dec": -5.86, "cluster": "ztf", "topic": "fink_a_ztf", "generation": 1, "kafka_partition": 0,
    "kafka_offset": 7, "received": TIME, "rb": float("nan"), "n_det": None,
}  # fmt: skip
GRB = {"objectId": "ZTF21abc", "candid": 17, "fink_class": "SN", "observatory": "Fermi", "triggerId": "68"}
HOSTILE = (
    "<!channel> <@U1> *b* `c` & <script>x</script>",
    "</code></b><a href='http://evil'>",
    "../../x",
    "a\0b\x1b[31m\n\nc",
    "x" * 5000,
    "\U0001f52d" * 500,
    "https://evil.example/?a=1&b=2",
    "'; DROP TABLE deliveries; --",
)


def no_record(row: dict[str, Any]) -> None:
    """Stand for an archive that cannot be read."""


def post(**changes: Any):
    (alert,) = alerts_of([ROW | changes], lambda _: {})
    return post_of(alert, BotSettings())


def test_all_there_is_to_say() -> None:
    assert post().text.splitlines() == [
        "ZTF26aamcbly",
        "class: SN candidate",
        "brightness: r = 16.45 +- 0.09 mag, fainter than the template",
        "time: 2026-03-22 11:06:51 UTC",
        "position: RA 267.000000 Dec -5.860000 deg (17:48:00.00 -05:51:36.0)",
        "alert: 3367463101415010117",
        "topics: fink_a_ztf",
        "https://ztf.fink-portal.org/ZTF26aamcbly",
    ]
    lsst = {"survey": "lsst", "object_id": "170028485706776685", "flux": 2075.4, "flux_err": 415.2}
    said = post(**lsst, mag=None, mag_err=None, is_positive=True).text
    assert said.startswith("LSST 170028485706776685\n")
    assert "brightness: r = 2075 +- 415 nJy\n" in said
    assert said.endswith("https://lsst.fink-portal.org/170028485706776685")


def test_what_is_null_is_left_out() -> None:
    nothing = dict.fromkeys(ROW) | {
        "survey": "other",
        "cluster": "ztf",
        "topic": "fink_grb",
        "received": TIME,
    }
    said = post(**nothing)
    assert said.text == (
        "alert without an object\ntime: 2026-03-22 11:00:05 UTC (received)\ntopics: fink_grb"
    )
    assert said.key == "message ztf fink_grb None None None"
    assert said.url is None
    assert "rb" not in post().fields
    assert post().fields["received"] == "2026-03-22T11:00:05.000000Z"
    json.dumps(post().fields, allow_nan=False)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            GRB,
            ["ZTF21abc", "class: SN", "trigger: 68", "observatory: Fermi", "alert: 17"],
        ),
        ({"alertId": 1, "diaSource": {"diaSourceId": 5, "diaObjectId": 747}}, ["747", "alert: 5"]),
        ({"objectId": "ZTF21abc"}, ["ZTF21abc"]),
        ({"objectId": None, "candid": 0, "diaSource": 7, "fink_class": b"x"}, ["alert without an object"]),
    ],
)
def test_alerts_of_other_kinds_are_named_by_their_records(record: dict[str, Any], said: list[str]) -> None:
    nothing = dict.fromkeys(ROW) | {"survey": "other", "cluster": "ztf", "topic": "fink_grb"}
    (alert,) = alerts_of([nothing], lambda _: {})
    text = post_of(alert, BotSettings(), record=record).text
    assert text.splitlines() == [*said, "topics: fink_grb"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_of_other_kinds_are_short_and_plain(hostile: str) -> None:
    names = ("objectId", "candid", "fink_class", "observatory", "triggerId")
    (alert,) = alerts_of([dict.fromkeys(ROW) | {"survey": "other", "topic": "t"}], lambda _: {})
    said = post_of(alert, BotSettings(), record=dict.fromkeys(names, hostile))
    assert re.fullmatch(r"[ -~\n]*", said.text)
    assert len(said.text) < 1024
    assert len(said.text.splitlines()) == 6


def test_messages_of_one_alert_are_one_post() -> None:
    rows = [ROW, ROW | {"source_id": 1}, ROW | {"topic": "fink_b_ztf"}, ROW | {"survey": "lsst"}]
    alerts = alerts_of(rows, no_record)
    assert [(a.key, a.topics) for a in alerts] == [
        ("ztf 3367463101415010117", ("fink_a_ztf", "fink_b_ztf")),
        ("ztf 1", ("fink_a_ztf",)),
        ("lsst 3367463101415010117", ("fink_a_ztf",)),
    ]
    unnumbered = [ROW | {"source_id": None}, ROW | {"source_id": None, "kafka_offset": 8}]
    assert len(alerts_of(unnumbered, no_record)) == 2


@pytest.mark.parametrize(
    ("changes", "posts"),
    [
        ({}, 1),
        ({"rate": 0.3}, 1),
        ({"candid": 18}, 2),
        ({"triggerId": "69"}, 2),
        ({"observatory": "Swift"}, 2),
        ({"objectId": "ZTF21abd"}, 2),
        ({"candid": None}, 2),
    ],
)
def test_an_alert_of_another_kind_is_known_by_what_its_record_says(
    changes: dict[str, Any], posts: int
) -> None:
    records = {"a": GRB, "b": GRB | changes}
    rows = [ROW | {"survey": "other", "source_id": None, "topic": topic} for topic in records]
    alerts = alerts_of(rows, lambda row: records[row["topic"]])
    assert len(alerts) == posts
    assert sorted({topic for alert in alerts for topic in alert.topics}) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("a/b c?d#e", "https://ztf.fink-portal.org/a%2Fb%20c%3Fd%23e"),
        ("2026 <X>", "https://ztf.fink-portal.org/2026%20%3CX%3E"),
        ("..", None),
        ("", None),
        (None, None),
        ("x" * 81, None),
        ("\ud800", "https://ztf.fink-portal.org/%3F"),
    ],
)
def test_links_are_quoted(name: str | None, url: str | None) -> None:
    assert post(object_id=name).url == url


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        assert attrs == []
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
@example(*["</code>"] * 3)
@example(*["\U0001f52d" * 20] * 3)  # its address is twelve times as long
@example(*["\U0001f52d" * 80] * 3)
def test_no_text_is_a_command(name: str, kind: str, topic: str) -> None:
    check(name, kind, topic)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_text_is_a_command(text: str) -> None:
    check(text, text, text)


def check(name: str, kind: str, topic: str) -> None:
    said = post(object_id=name, topic=topic, **{"class": kind, "band": kind})
    assert said.text.isascii()
    assert all(line.isprintable() for line in said.text.splitlines())
    parser = _Tags()
    parser.feed(telegram.markup(said))
    parser.close()
    assert parser.open == []
    assert parser.seen <= {"b", "code"}
    assert parser.text == said.text
    assert len(parser.text) <= 1024
    in_slack = slack.markup(said)
    assert len(in_slack) < 3000
    assert all(line.count("`") in {0, 2} for line in in_slack.splitlines())
    outside = re.sub(r"`[^`]*`", "", in_slack)
    assert re.findall(r"<[^>]*>", outside) == ([f"<{said.url}>"] if said.url else [])
    assert "<" not in "".join(re.findall(r"`[^`]*`", in_slack))
