"""Schemas that messages only name: by a version in the key, or by a registry's id."""

from __future__ import annotations

from pathlib import Path

import pytest

from finkbridge.avro.parser import CACHED_SCHEMAS
from finkbridge.avro.portions import portions
from finkbridge.avro.resolve import Framing, Lookups, Resolved, SchemaResolver, datum_of
from finkbridge.avro.versions import SchemaFolder
from finkbridge.errors import ForbiddenError, RegistryError, SchemaError, SettingsError
from tests.avro.samples import encode, messages_of, record_of, schema_of
from tests.avro.test_resolve import message

SCHEMA = schema_of(record_of(a="int", b="string"))
OTHER = schema_of(record_of(c="double"))
DATUM = encode(SCHEMA, {"a": 7, "b": "seven"})
REPLAYED = encode(OTHER, {"c": 0.5})
KEY = b"2.5_3.5.3"
WIRE = b"\0\0\0\x03\xe9" + DATUM


def folder_of(tmp_path: Path, **files: bytes) -> SchemaResolver:
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_bytes(text)
    return SchemaResolver(lookups=Lookups(versions=SchemaFolder(tmp_path)))


@pytest.mark.parametrize(
    "name", ["2.5_3.5.3.avsc", "2.5_3.5.3.json", "distribution_schema_fink_ztf_2.5_3.5.3.avsc"]
)
def test_the_key_names_a_file(tmp_path: Path, name: str) -> None:
    resolver = folder_of(tmp_path, **{name: SCHEMA.text, "x_12.5_3.5.3.avsc": b"{", "note.txt": b"hi"})
    assert resolver.resolve("t", message(key=KEY)) == Resolved(SCHEMA, DATUM, Framing.BARE)


def test_the_replayed_one_where_there_is_no_other_or_it_does_not_fit(tmp_path: Path) -> None:
    resolver = folder_of(tmp_path, **{"ztf_2.5_3.5.3_replayed.avsc": OTHER.text})
    assert resolver.resolve("t", message(REPLAYED, KEY)) == Resolved(OTHER, REPLAYED, Framing.BARE)
    both = folder_of(tmp_path, **{"ztf_2.5_3.5.3.avsc": SCHEMA.text})
    assert both.resolve("t", message(REPLAYED, KEY)) == Resolved(OTHER, REPLAYED, Framing.BARE)
    assert both.resolve("t", message(DATUM, KEY)) == Resolved(SCHEMA, DATUM, Framing.BARE)
    mixed = messages_of([DATUM, REPLAYED, DATUM], KEY)
    grouped = both.group("t", mixed)
    assert [(g.schema, list(g.indices)) for g in grouped.groups] == [(SCHEMA, [0, 2]), (OTHER, [1])]


def test_of_several_files_that_of_the_topics_survey(tmp_path: Path) -> None:
    resolver = folder_of(tmp_path, **{"a_lsst_1_1.avsc": SCHEMA.text, "b_ztf_1_1.avsc": OTHER.text})
    assert resolver.resolve("fink_x_ztf", message(REPLAYED, b"1_1")).schema == OTHER  # type: ignore[union-attr]
    assert resolver.resolve("fink_x_lsst", message(DATUM, b"1_1")).schema == SCHEMA  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "key", [b"../x_y", b"a_b/../../c", b"a_b\0", b"", b"a_*", "é_é".encode(), b"a_b" * 99]
)
def test_a_key_that_is_no_version_names_no_file(tmp_path: Path, key: bytes) -> None:
    (tmp_path / "x_y.avsc").write_bytes(SCHEMA.text)
    assert SchemaFolder(tmp_path / "sub").texts(key, "t") == []


def test_a_folder_that_is_not_there_is_a_bad_setting(tmp_path: Path) -> None:
    resolver = SchemaResolver(lookups=Lookups(versions=SchemaFolder(tmp_path / "none")))
    with pytest.raises(SettingsError, match=r"the schema folder .*none cannot be read: No such file"):
        resolver.resolve("t", message(key=KEY))


@pytest.mark.parametrize("has_folder", [False, True])
def test_a_name_without_a_file_says_what_to_do(tmp_path: Path, has_folder: bool) -> None:
    resolver = folder_of(tmp_path) if has_folder else SchemaResolver()
    found = str(resolver.resolve("t", message(key=KEY)))
    what = (
        "no *_2.5_3.5.3.avsc in decode.schema_folder fits"
        if has_folder
        else "put its file in a folder and set decode.schema_folder"
    )
    assert found.startswith("no writer schema: ")
    assert found.endswith(f"; the key 2.5_3.5.3 names one: {what}")


def registry(asked: list[int]) -> SchemaResolver:
    def schema(number: int) -> bytes | None:
        asked.append(number)
        return SCHEMA.text if number == 1001 else None

    return SchemaResolver(lookups=Lookups(registry=schema))


def test_the_registry_is_asked_once_an_id() -> None:
    asked: list[int] = []
    resolver = registry(asked)
    for _ in range(3):
        messages = [message(WIRE, b"7"), message(WIRE, None), message(WIRE, b"7")]
        (group,) = resolver.group("t", messages).groups
        (portion,) = portions(group, messages)
        assert (group.schema, group.framing) == (SCHEMA, Framing.REGISTRY)
        assert (portion.group.datums, portion.messages) == ([DATUM] * 3, messages)
    assert asked == [1001]
    assert datum_of(WIRE, Framing.REGISTRY) == DATUM


def test_an_id_that_the_registry_does_not_know() -> None:
    found = registry([]).resolve("t", message(b"\0\0\0\0\x05" + DATUM))
    assert str(found).startswith(
        "no writer schema: neither in the key, nor in t_schema, nor given with --schema"
    )
    assert str(found).endswith("; the registry has none of the id 5")


def test_a_schema_of_the_registry_that_is_none_of_avro() -> None:
    asked: list[int] = []

    def schema(number: int) -> bytes | None:
        asked.append(number)
        raise SchemaError("it is PROTOBUF, not Avro")

    resolver = SchemaResolver(lookups=Lookups(registry=schema))
    for _ in range(2):
        assert resolver.resolve("t", message(WIRE)) == "the registry's schema 1001: it is PROTOBUF, not Avro"
    assert asked == [1001]


def test_ids_that_are_not_asked_for_are_not_said_to_be_unknown() -> None:
    asked: list[int] = []
    messages = [message(number.to_bytes(5) + DATUM) for number in range(40)]
    reasons = [reason for _, reason in registry(asked).group("t", messages).rejected]
    assert (len(reasons), asked) == (40, list(range(CACHED_SCHEMAS)))
    assert all(
        reason.endswith(f"the registry has none of the id {n}") for n, reason in enumerate(reasons[:32])
    )
    assert all("was not asked for the id" in reason for reason in reasons[32:])


def test_a_registry_that_is_down_is_an_error_and_no_quarantine() -> None:
    def schema(_: int) -> bytes | None:
        raise RegistryError("down")

    with pytest.raises(RegistryError):
        SchemaResolver(lookups=Lookups(registry=schema)).group("t", [message(WIRE)])


def test_a_key_that_is_the_schema_tells_more_than_a_zero_byte() -> None:
    zero = encode(SCHEMA, {"a": 0, "b": "more than five"})
    assert zero[0] == 0
    asked: list[int] = []
    assert registry(asked).resolve("t", message(zero, SCHEMA.text)) == Resolved(SCHEMA, zero, Framing.BARE)
    assert asked == []


@pytest.mark.parametrize("down", [True, False])
def test_a_registry_is_not_asked_for_what_a_schema_topic_or_a_folder_has(tmp_path: Path, down: bool) -> None:
    """Any datum may begin like an id: real alerts do."""

    def schema(_: int) -> bytes | None:
        if down:
            raise RegistryError("down")
        return OTHER.text

    (tmp_path / f"{KEY.decode()}.avsc").write_bytes(SCHEMA.text)
    zero = encode(SCHEMA, {"a": 0, "b": "more than five"})
    for keyed in (KEY, None, b"7"):
        lookups = Lookups(SchemaFolder(tmp_path), schema)
        resolver = SchemaResolver(topic_schema=lambda _: SCHEMA.text, lookups=lookups)
        assert resolver.resolve("t", message(zero, keyed)) == Resolved(SCHEMA, zero, Framing.BARE)
        (group,) = resolver.group("t", [message(zero, keyed)] * 2).groups
        assert (group.schema, group.framing, group.datums) == (SCHEMA, Framing.BARE, [zero] * 2)


def test_a_topic_of_a_registry_is_not_asked_for_a_schema_again_and_again() -> None:
    asked: list[str] = []
    lookups = Lookups(registry=lambda _: SCHEMA.text)
    resolver = SchemaResolver(topic_schema=asked.append, lookups=lookups)
    for _ in range(3):
        resolver.group("t", [message(WIRE)])
        assert resolver.resolve("t", message(WIRE)) == Resolved(SCHEMA, DATUM, Framing.REGISTRY)
    assert asked == ["t"]
    resolver.forget("t")
    resolver.group("t", [message(WIRE)])
    assert asked == ["t", "t"]


def test_a_schema_topic_that_may_not_be_read_is_not_needed_where_a_registry_has_the_schema() -> None:
    """A cluster with rights says that of any topic which is not there; a bad message then is one."""

    def forbidden(_: str) -> bytes | None:
        raise ForbiddenError("no right")

    lookups = Lookups(registry=lambda number: SCHEMA.text if number == 1001 else None)
    resolver = SchemaResolver(topic_schema=forbidden, lookups=lookups)
    assert resolver.resolve("t", message(WIRE)) == Resolved(SCHEMA, DATUM, Framing.REGISTRY)
    assert "t_schema may not be read" in str(resolver.resolve("t", message(b"rubbish")))
    grouped = resolver.group("t", [message(b"rubbish"), message(WIRE)])
    assert (len(grouped.groups), [index for index, _ in grouped.rejected]) == (1, [0])
    for unsure in (SchemaResolver(topic_schema=forbidden), SchemaResolver(None, forbidden, lookups=lookups)):
        for _ in range(2):
            with pytest.raises(ForbiddenError):
                unsure.resolve("t", message(b"rubbish"))
            with pytest.raises(ForbiddenError):
                unsure.group("t", [message(b"rubbish")])


@pytest.mark.parametrize("down", [True, False])
def test_the_users_schema_needs_no_registry_and_shows_what_is_bare(down: bool) -> None:
    def schema(_: int) -> bytes | None:
        if down:
            raise RegistryError("down")
        return SCHEMA.text

    zero = encode(SCHEMA, {"a": 0, "b": "abc\x02\x12ninechars"})
    assert encode(SCHEMA, {"a": 1, "b": "ninechars"}) == zero[5:], "it fits whole, and behind five bytes"
    resolver = SchemaResolver(override=SCHEMA, lookups=Lookups(registry=schema))
    assert resolver.resolve("bare", message(zero)) == Resolved(SCHEMA, zero, Framing.BARE)
    assert resolver.resolve("framed", message(b"\0\0\0\0\1rubbish")).framing is Framing.BARE  # type: ignore[union-attr]
    for _ in range(2):
        assert resolver.resolve("framed", message(WIRE)) == Resolved(SCHEMA, DATUM, Framing.REGISTRY)
    assert resolver.resolve("framed", message(DATUM)) == Resolved(SCHEMA, DATUM, Framing.BARE)


def test_one_value_that_begins_like_a_known_id_tells_nothing_of_its_topic() -> None:
    """The schema topic may come later; and ids that nobody knows are not asked for again and again."""
    texts: list[bytes] = []
    asked: list[int] = []

    def known(number: int) -> bytes | None:
        asked.append(number)
        return OTHER.text if number == 1001 else None

    resolver = SchemaResolver(
        topic_schema=lambda _: texts[0] if texts else None, lookups=Lookups(registry=known)
    )
    zero = encode(SCHEMA, {"a": 0, "b": "more than five"})
    accident = b"\0\0\0\x03\xe9 of another schema"
    (group,) = resolver.group("t", [message(accident)]).groups
    assert (group.schema, group.framing) == (OTHER, Framing.REGISTRY)
    assert len(resolver.group("t", [message(zero)] * 9).rejected) == 9
    assert len(asked) == 2
    texts.append(SCHEMA.text)
    (group,) = resolver.group("t", [message(zero), message(accident)]).groups
    assert (group.schema, group.framing) == (SCHEMA, Framing.BARE)


def test_without_a_registry_no_value_is_taken_for_its_format() -> None:
    found = SchemaResolver().resolve("t", message(WIRE))
    assert "a schema registry may have it (id 1001): set clusters.<name>.schema_registry" in str(found)
    found = SchemaResolver().resolve("t", message(b"\0\x8a\xbe\x12\x19 nothing of that kind"))
    assert "registry" not in str(found)


def test_the_users_schema_goes_with_the_registrys_header() -> None:
    lookups = Lookups(registry=lambda _: None)
    found = SchemaResolver(override=OTHER, lookups=lookups).resolve("t", message(b"\0\0\0\0\x05" + REPLAYED))
    assert found == Resolved(OTHER, REPLAYED, Framing.REGISTRY)
