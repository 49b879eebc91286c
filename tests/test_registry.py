"""A schema registry on a real HTTP server: ids, refusals, and nothing of its password in any line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from finkbridge.consumer.config import cluster_settings
from finkbridge.errors import RegistryError, SettingsError
from finkbridge.registry import Registry, lookups_of
from finkbridge.settings import ClusterSettings, load_settings, secret_values
from tests.support.registry import RegistryServer

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


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"schema": 5, "schemaType": 3}', b"\xff"])
def test_an_answer_that_is_none(body: bytes) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as odd:
        thread = threading.Thread(target=odd.serve_forever)
        thread.start()
        try:
            registry = Registry(f"http://127.0.0.1:{odd.server_port}")
            if body.startswith(b'{"schema"'):
                assert registry.schema(1) is None  # of another kind than Avro
            else:
                with pytest.raises(RegistryError, match="answers no schema"):
                    registry.schema(1)
        finally:
            odd.shutdown()
            thread.join()


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
