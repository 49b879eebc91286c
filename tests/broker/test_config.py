"""librdkafka's configuration from the settings."""

from __future__ import annotations

from finkbridge.broker.config import client_config
from finkbridge.settings import ClusterSettings


def test_without_a_password_there_is_no_sasl() -> None:
    config = client_config(ClusterSettings(servers="a:1,b:2", username="fink"), {}, {})
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert not [key for key in config if "sasl" in key or key == "security.protocol"]


def test_a_password_is_scram_unless_the_user_says_otherwise() -> None:
    secret = {"servers": "a:1", "username": "fink", "password": "pw"}
    config = client_config(ClusterSettings(**secret), {}, {})
    assert config["security.protocol"] == "SASL_PLAINTEXT"
    assert config["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == ("fink", "pw")
    other = ClusterSettings(**secret, kafka={"security.protocol": "SASL_SSL", "ssl.key.password": "k"})
    config = client_config(other, {}, {})
    assert (config["security.protocol"], config["ssl.key.password"]) == ("SASL_SSL", "k")


def test_what_must_hold_is_above_the_users_keys_which_are_above_the_defaults() -> None:
    settings = ClusterSettings(servers="a:1", kafka={"auto.offset.reset": "latest", "fetch.wait.max.ms": 7})
    config = client_config(settings, {"fetch.wait.max.ms": 20}, {"auto.offset.reset": "error"})
    assert (config["auto.offset.reset"], config["fetch.wait.max.ms"]) == ("error", "7")
