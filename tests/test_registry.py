"""A schema registry on a real HTTP server: ids, refusals, and nothing of its password in any line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from finkbridge.consumer.config import cluster_settings
from finkbridge.errors import RegistryError, SchemaError, SettingsError
from finkbridge.registry import Registry, lookups_of
from finkbridge.settings import ClusterSettings, load_settings, secret_values
from tests.support.registry import RegistryServer, answer, answering

SECRET = "hunter2-very-secret"


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer({7: '{"type": "int"}', 1001: '{"type": "string"}'}) as server:
        yield server


def test_schemas_by_id(server: RegistryServer) -> None:
    registry = Registry(server.url + "/")
    assert registry.schema(7) == b'{"type": "int"}'
    assert registry.schema(1001) == b'{"type": "string"}'
    assert registry.schema(8) is None
    assert server.asked == [7, 1001, 8]


def test_a_password(server: RegistryServer) -> None:
    server.auth = f"me:{SECRET}"
    assert Registry(server.url, SecretStr(f"me:{SECRET}")).schema(7) == b'{"type": "int"}'
    for auth in (None, SecretStr(f"me:{SECRET}-wrong")):
        with pytest.raises(
            RegistryError, match=r"answers 401: check clusters.<name>.schema_registry_auth"
        ) as e:
            Registry(server.url, auth).schema(7)
        assert SECRET not in str(e.value)


def test_nobody_there() -> None:
    with pytest.raises(RegistryError, match="does not answer"):
        Registry("http://127.0.0.1:1").schema(7)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"<html>", b'{"schema": 5}', b"\xff", b"[" * 99_999, b'{"schema": "a']
)
def test_an_answer_that_is_none(body: bytes) -> None:
    with (
        answering(answer("200 OK", body)) as url,
        pytest.raises(RegistryError, match="answers no schema: check clusters"),
    ):
        Registry(url).schema(1)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n{",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999999999999999999999\r\n\r\n{",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 9999999\r\n\r\n{",
        b"",
    ],
)
def test_who_speaks_no_http_is_told_of(raw: bytes) -> None:
    """A drain leaves the messages where they are, and none is in quarantine for it."""
    with answering(raw) as url, pytest.raises(RegistryError, match="check clusters") as caught:
        Registry(url).schema(1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>not here</html>",
        b'{"detail": "not found"}',
        b"[1]",
        b'{"error_code": 404, "message": "HTTP 404 Not Found"}',
        b'{"error_code": 404, "message": "RESTEASY003210: Could not find resource"}',
    ],
)
def test_only_the_registrys_own_word_is_that_it_has_none(body: bytes) -> None:
    """Any other server says 404 of an address that it does not have."""
    with (
        answering(answer("404 Not Found", body)) as url,
        pytest.raises(RegistryError, match="answers 404"),
    ):
        Registry(url).schema(1)
    for own in (b'{"error_code": 40403}', b'{"error_code": 404, "message": "No artifact with id 1"}'):
        with answering(answer("404 Not Found", own)) as url:
            assert Registry(url).schema(1) is None


def test_a_schema_of_another_kind() -> None:
    body = b'{"schema": "message A {}", "schemaType": "PROTOBUF"}'
    with (
        answering(answer("200 OK", body)) as url,
        pytest.raises(SchemaError, match="it is PROTOBUF, not Avro"),
    ):
        Registry(url).schema(1)


def test_an_answer_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finkbridge.registry.ANSWER_S", 0.5)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n ", then=5) as url:
        began = time.monotonic()
        with pytest.raises(RegistryError, match="no whole answer"):
            Registry(url).schema(1)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "file:///etc/passwd",
        "x",
        "http://",
        "http://a b",
        f"http://me:{SECRET}@x",
        f"me:{SECRET}@x",
    ],
)
def test_urls_that_are_refused_in_words(url: str) -> None:
    why = (
        "write an address that begins with https:// or http://, without user and password: where it wants "
        "them, set schema_registry_auth to user:password"
    )
    environ = {"FINKBRIDGE_CLUSTERS__ZTF__SERVERS": "a:1", "FINKBRIDGE_CLUSTERS__ZTF__SCHEMA_REGISTRY": url}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    assert str(caught.value) == (
        f"clusters.ztf.schema_registry (FINKBRIDGE_CLUSTERS__ZTF__SCHEMA_REGISTRY): {why}"
    )
    with pytest.raises(SettingsError) as caught:
        cluster_settings({"servers": "a:1", "group_id": "g", "schema.registry.url": url})
    assert str(caught.value) == f"the consumer's config: schema_registry: {why}"


def test_its_password_is_a_secret() -> None:
    values = {"servers": "a:1", "schema_registry": "http://x", "schema_registry_auth": f"me:{SECRET}"}
    settings = load_settings(environ={}, overrides={"clusters.ztf": values}).settings
    assert set(secret_values(settings)) == {SECRET, f"me:{SECRET}"}
    assert SECRET not in repr(settings)


def test_without_settings_nothing_is_looked_up() -> None:
    lookups = lookups_of(ClusterSettings(servers="a:1"), None)
    assert (lookups.versions, lookups.registry) == (None, None)
