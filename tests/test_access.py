"""What another process is told of a cluster."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from finkbridge.access import Access, plain
from finkbridge.broker.config import client_config
from finkbridge.settings import ClusterSettings

SECRETS = {"password": "t0ps3cret", "schema_registry_auth": "me:s3same"}
FULL = {
    "servers": "127.0.0.1:9092",
    "group_id": "me",
    "username": "me",
    "schema_registry": "http://127.0.0.1:8081",
    "kafka": {"ssl.key.password": "k3y", "log_level": "7"},
    **SECRETS,
}


@pytest.mark.parametrize("told", [FULL, {"servers": "127.0.0.1:9092"}])
def test_clients_are_made_alike_of_settings_and_of_what_a_worker_is_told(told: dict[str, object]) -> None:
    settings = ClusterSettings.model_validate(told)
    access: Access = pickle.loads(pickle.dumps(plain(settings)))
    assert client_config(access, {}, {}) == client_config(settings, {}, {})
    for name in ("group_id", "schema_registry"):
        assert getattr(access, name) == getattr(settings, name)
    for name, secret in SECRETS.items():
        held = getattr(access, name)
        assert (held and held.get_secret_value()) == (secret if name in told else None)


def test_secrets_are_not_shown() -> None:
    shown = repr(plain(ClusterSettings.model_validate(FULL)))
    assert "127.0.0.1:9092" in shown
    assert not [secret for secret in (*SECRETS.values(), "k3y") if secret in shown]


def test_workers_do_not_load_what_checks_settings() -> None:
    code = (
        "import sys, finkbridge.worker_process, finkbridge.task;"
        "found = sorted({'pydantic', 'sqlalchemy', 'finkbridge.settings'} & set(sys.modules));"
        "print(found, flush=True)"  # it ends without flushing
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
