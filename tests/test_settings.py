"""Settings: every layer, every source, and one clear line for each kind of bad input."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from finkbridge.errors import SettingsError
from finkbridge.layers import known_keys, layer_of, leaves, merge, read_environment, variable_name
from finkbridge.setting_types import parse_bytes
from finkbridge.settings import ClusterSettings, Settings, load_settings, secret_values

SECRET = "hunter2-very-secret"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(toml: str = "", overrides: dict[str, Any] | None = None, **environ: str):
    if toml:
        Path("finkbridge.toml").write_text(toml)
    return load_settings(environ=environ, overrides=overrides)


def error_of(toml: str = "", overrides: dict[str, Any] | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(toml, overrides, **environ)
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert caught.value.__cause__ is None
    return text


def test_defaults_need_nothing():
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.sources == {}
    assert loaded.config is None
    assert loaded.settings.lake == Path("lake")
    assert loaded.settings.memory_bytes == 1_073_741_824
    assert loaded.settings.drain.segment_bytes == 64_000_000
    assert loaded.settings.follow.batch_age_s == 2.0


def test_each_layer_covers_the_one_before_key_by_key():
    toml = """
        lake = "from-toml"
        workers = 1
        [drain]
        max_messages = 10
        max_bytes = "1 MB"
        start = "latest"
    """
    environ = {"FINKBRIDGE_WORKERS": "2", "FINKBRIDGE_DRAIN__MAX_MESSAGES": "20"}
    loaded = load(toml, {"drain.max_messages": 30, "lake": None}, **environ)
    assert loaded.settings.lake == Path("from-toml")
    assert loaded.settings.workers == 2
    assert loaded.settings.drain.max_messages == 30
    assert loaded.settings.drain.max_bytes == 1_000_000
    assert loaded.settings.drain.start == "latest"
    assert loaded.sources == {
        "lake": "finkbridge.toml",
        "workers": "FINKBRIDGE_WORKERS",
        "drain.max_messages": "command option",
        "drain.max_bytes": "finkbridge.toml",
        "drain.start": "finkbridge.toml",
    }


def test_environment_makes_a_cluster():
    settings = load(
        FINKBRIDGE_CLUSTERS__ZTF__SERVERS="a:9092,b:9092",
        FINKBRIDGE_CLUSTERS__ZTF__TOPICS="fink_*_ztf, fink_sso",
        FINKBRIDGE_CLUSTERS__ZTF__USERNAME="me",
        FINKBRIDGE_CLUSTERS__ZTF__PASSWORD="{not JSON",
        FINKBRIDGE_CLUSTERS__ZTF__KAFKA__SECURITY_PROTOCOL="SASL_SSL",
        FINKBRIDGE_CLUSTERS__ZTF__KAFKA__SSL_KEY_PASSWORD=SECRET,
    ).settings
    cluster = settings.clusters["ztf"]
    assert cluster.servers == "a:9092,b:9092"
    assert cluster.topics == ("fink_*_ztf", "fink_sso")
    assert cluster.password == SecretStr("{not JSON")
    assert cluster.kafka == {"security.protocol": "SASL_SSL", "ssl.key.password": SecretStr(SECRET)}
    assert SECRET not in repr(settings)


def test_environment_takes_json():
    whole = {"lsst": {"servers": "a:1", "topics": ["x"], "kafka": {"fetch.wait.max.ms": 50}}}
    loaded = load(FINKBRIDGE_CLUSTERS=json.dumps(whole), FINKBRIDGE_CLUSTERS__LSST__TOPICS='["y", "z"]')
    assert loaded.settings.clusters["lsst"].topics == ("y", "z")
    assert loaded.settings.clusters["lsst"].kafka == {"fetch.wait.max.ms": "50"}
    assert loaded.sources["clusters.lsst.servers"] == "FINKBRIDGE_CLUSTERS"
    assert loaded.sources["clusters.lsst.topics"] == "FINKBRIDGE_CLUSTERS__LSST__TOPICS"


def test_empty_and_foreign_variables_do_not_count():
    loaded = load(FINKBRIDGE_WORKERS="", FINKBRIDGE_TEST_KAFKA="x", PATH="/bin", FINK="y")
    assert loaded.settings == Settings()


def test_toml_takes_dotted_kafka_keys_and_lifts_sasl():
    cluster = load(f"""
        [clusters.ztf]
        servers = ["a:1", "b:2"]
        [clusters.ztf.kafka]
        sasl.mechanism = "PLAIN"
        sasl.username = "me"
        "sasl.password" = "{SECRET}"
        enable.ssl.certificate.verification = false
    """).settings.clusters["ztf"]
    assert cluster.servers == "a:1,b:2"
    assert (cluster.username, cluster.password) == ("me", SecretStr(SECRET))
    assert cluster.kafka == {"sasl.mechanism": "PLAIN", "enable.ssl.certificate.verification": "false"}


def test_config_file_is_chosen_by_argument_then_variable(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(f'lake = "{name}"')
    environ = {"FINKBRIDGE_CONFIG": "two.toml"}
    assert load_settings(Path("one.toml"), environ).settings.lake == Path("one")
    loaded = load_settings(environ=environ)
    assert (loaded.settings.lake, loaded.config) == (Path("two"), Path("two.toml"))


def test_home_is_expanded_from_the_environment():
    settings = load('lake = "~/alerts"', HOME="/home/me").settings
    assert settings.lake == Path("/home/me/alerts")
    assert settings.credentials == Path("/home/me/.finkclient")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("2026-01-31T18:00Z", datetime(2026, 1, 31, 18, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T18:00-04:00", datetime(2026, 1, 31, 22, tzinfo=UTC)),
    ],
)
def test_start(text: str, expected: object):
    assert load(FINKBRIDGE_DRAIN__START=text).settings.drain.start == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512MB", 512_000_000), ("1GiB", 2**30), ("1.5 kb", 1500), ("7", 7), (" 2 TiB ", 2**41), (9, 9)],
)
def test_sizes(text: object, expected: int):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ('laek = "x"', ["laek (finkbridge.toml): no such setting, did you mean lake?"]),
        ("segment_bytes = 1", ["segment_bytes", "did you mean drain.segment_bytes?"]),
        ("[drain]\nmax_mesages = 1", ["drain.max_mesages", "did you mean drain.max_messages"]),
        ("[drian]\nstart = 'latest'", ["drian (finkbridge.toml): no such setting, did you mean drain?"]),
        ("[merge]\nfile = 3", ["did you mean merge.files?"]),
        ("qqqq = 1", ["qqqq (finkbridge.toml): no such setting", "finkbridge config"]),
        ("workers = -1", ["workers (finkbridge.toml)", "greater than or equal to 0, not -1"]),
        ('memory_bytes = "1 parsec"', ["memory_bytes (finkbridge.toml): not a size", "not '1 parsec'"]),
        ("memory_bytes = 1000000", ["memory_bytes is too small to keep", "about 620,000,000: raise the one"]),
        ("[drain]\nsegment_bytes = '1GB'", ["memory_bytes is too small", "1,000,000,000, takes about"]),
        ("[drain]\nmax_bytes = 0", ["drain.max_bytes", "greater than 0"]),
        ("[drain]\nstart = 'soon'", ["drain.start", "earliest, latest, or an ISO time", "not 'soon'"]),
        ("[decode]\nengine = 'magic'", ["decode.engine", "'auto' or 'fastavro', not 'magic'"]),
        ("[follow]\nidle_s = nan", ["follow.idle_s", "finite number"]),
        ("drain = 3", ["drain (finkbridge.toml)"]),
        ("[clusters.ZTF]\nservers = 'a:1'", ["clusters.ZTF", "only a-z, 0-9, _ and -"]),
        ("[clusters.ztf]\nservers = 'nowhere'", ["clusters.ztf.servers", "host:port"]),
        ("[clusters.ztf]\ntopics = ['x']", ["clusters.ztf.servers", "missing: set", "__ZTF__SERVERS"]),
        ("[clusters.ztf]\nservers = 'a:1'\ntopics = 3", ["clusters.ztf.topics"]),
        (f"[clusters.ztf]\nservers = 'a:1'\npasword = '{SECRET}'", ["did you mean clusters.ztf.password?"]),
        (f"[clusters.ztf]\nservers = 'a:1'\npassword = '{SECRET}'", ["clusters.ztf", "no username"]),
        (f"[clusters.ztf]\nservers = 'a:1'\npassword = ['{SECRET}']", ["clusters.ztf.password"]),
        (f"[clusters.ztf]\nservers = 'a:1'\nkafka = '{SECRET}'", ["clusters.ztf.kafka"]),
        (f"[clusters.ztf]\nservers = 'a:1'\n[clusters.ztf.kafka]\nx = ['{SECRET}']", ["clusters.ztf.kafka"]),
        (f"[clusters]\nztf = '{SECRET}'", ["clusters.ztf (finkbridge.toml)"]),
        (f"ledger = 'mysql://me:{SECRET}@host/db'", ["ledger (finkbridge.toml): write postgresql://"]),
        *(
            (f"ledger = 'postgresql://{url}'", ["ledger (finkbridge.toml): write each @", "%40"])
            for url in (
                f"me:a@{SECRET}@host/db",
                f"me:a/b@{SECRET}@host/db",
                f"me:a#b@{SECRET}@host/db",
                f"me:a@b/{SECRET}@host/db",
                f"me:a@b?{SECRET}@host/db",
            )
        ),
        (f"password = = '{SECRET}'", ["finkbridge.toml is not valid TOML", "line 1"]),
    ],
)
def test_bad_toml_names_key_source_and_problem(toml: str, parts: list[str]):
    text = error_of(toml)
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("FINKBRIDGE_LAEK", "x", ["FINKBRIDGE_LAEK", "did you mean FINKBRIDGE_LAKE?"]),
        ("FINKBRIDGE_MAX_MESSAGES", "1", ["did you mean FINKBRIDGE_DRAIN__MAX_MESSAGES?"]),
        ("FINKBRIDGE_CLUSTERS__LSST__SERVER", SECRET, ["did you mean FINKBRIDGE_CLUSTERS__LSST__SERVERS"]),
        ("FINKBRIDGE_WORKERS", "many", ["workers (FINKBRIDGE_WORKERS)", "not 'many'"]),
        (
            "FINKBRIDGE_CLUSTERS",
            '{"ztf": ' + SECRET,
            ["FINKBRIDGE_CLUSTERS is not valid JSON at character 9"],
        ),
        ("FINKBRIDGE_LEDGER", SECRET, ["ledger (FINKBRIDGE_LEDGER)"]),
        ("FINKBRIDGE_CONFIG", "nowhere.toml", ["cannot read the settings file nowhere.toml: No such file"]),
        ("FINKBRIDGE_DRAIN", "5", ["drain (FINKBRIDGE_DRAIN)"]),
        ("FINKBRIDGE___LAKE", "5", ["FINKBRIDGE___LAKE"]),
        ("FINKBRIDGE_", "5", ["FINKBRIDGE_"]),
    ],
)
def test_bad_variable_is_named(name: str, value: str, parts: list[str]):
    text = error_of(**{name: value})
    assert [part for part in parts if part not in text] == []


def test_bad_option_says_so():
    assert "workers (command option)" in error_of(overrides={"workers": -2})


@pytest.mark.parametrize("key", ["lake", "credentials", "decode.schema_file"])
def test_an_empty_path_is_not_the_working_folder(key: str):
    with pytest.raises(SettingsError, match="an empty path: name a folder or file") as caught:
        load_settings(environ={}, overrides={key: ""})
    assert str(caught.value).startswith(f"{key} (command option): ")


def test_several_problems_are_counted():
    assert "(and 1 more)" in error_of("workers = -1\nmemory_bytes = 0")


def test_unreadable_config_folder():
    Path("finkbridge.toml").mkdir()
    assert "Is a directory" in error_of()


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Settings().lake = Path("x")  # type: ignore[misc]


def test_each_setting_has_a_text():
    models = [Settings, ClusterSettings]
    models += [f.annotation for f in Settings.model_fields.values() if hasattr(f.annotation, "model_fields")]
    assert len(models) == 10
    assert [f"{m.__name__}.{n}" for m in models for n in m.model_fields if n not in texts(m)] == []


def texts(model: type[BaseModel]) -> set[str]:
    """Return the names of attributes that a text follows."""
    (parsed,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(parsed, ast.ClassDef)
    return {
        named.target.id
        for named, text in pairwise(parsed.body)
        if isinstance(named, ast.AnnAssign)
        and isinstance(named.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([], {"ztf": ("fink_*_ztf", "odd"), "lsst": ("fink_*_lsst",)}),
        (["fink_a_ztf"], {"ztf": ("fink_a_ztf",), "lsst": ()}),
        (["fink_*_lsst", "odd"], {"ztf": ("odd",), "lsst": ("fink_*_lsst",)}),
        (["other", "fink_*"], {"ztf": ("other", "fink_*"), "lsst": ("other", "fink_*")}),
    ],
)
def test_names_are_asked_of_the_clusters_that_they_are_of(
    names: list[str], wanted: dict[str, tuple[str, ...]]
):
    topics = {"ztf": ["fink_*_ztf", "odd"], "lsst": ["fink_*_lsst"]}
    clusters = {name: {"servers": "x:1", "topics": mine} for name, mine in topics.items()}
    assert Settings.model_validate({"clusters": clusters}).wanted(names) == wanted


def test_unknown_cluster_lists_the_known():
    settings = load(FINKBRIDGE_CLUSTERS__ZTF__SERVERS="a:1").settings
    assert settings.cluster("ztf").servers == "a:1"
    with pytest.raises(SettingsError, match=r"no cluster 'ztx', did you mean ztf\?.*known: ztf"):
        settings.cluster("ztx")


def test_all_secrets_are_found():
    kafka = {"ssl.key.password": "kafka-secret", "client.id": "open"}
    cluster = ClusterSettings(servers="a:1", username="me", password=SecretStr("pass"), kafka=kafka)  # type: ignore[arg-type]
    url = "postgresql+psycopg://me:p%40ss@host/db"
    settings = Settings(ledger=SecretStr(url), clusters={"ztf": cluster})
    assert secret_values(settings)[:2] == (url, "kafka-secret")
    assert set(secret_values(settings)) == {url, "kafka-secret", "p%40ss", "p@ss", "pass"}
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert not any(secret in text for secret in ("'pass'", "p%40ss", "kafka-secret"))


def test_every_key_has_a_variable_that_sets_it():
    keys = list(known_keys(Settings))
    assert "clusters.ztf.servers" in keys
    assert variable_name("clusters.ztf.servers") == "FINKBRIDGE_CLUSTERS__ZTF__SERVERS"
    for key in keys:
        layer = read_environment({variable_name(key): "x"})
        assert [found for found, _ in leaves(layer.values)] == [key]
        assert layer.sources == {key: variable_name(key)}


def test_importing_stays_light():
    code = "import sys, finkbridge.settings; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pyarrow", "confluent_kafka", "polars", "numpy", "sqlalchemy", "asyncio"} & set(modules)


trees = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(), max_size=3),
    max_leaves=8,
)


@given(trees, trees)
def test_merging_keeps_every_leaf_of_the_upper_layer_and_names_its_source(under: dict, over: dict):
    both = merge([layer_of(under, "under"), layer_of(over, "over")])
    result, upper, lower = dict(leaves(both.values)), dict(leaves(over)), dict(leaves(under))
    for key, value in upper.items():
        if value != {}:
            assert result[key] == value
            assert both.sources[key] == "over"
    for key in result.keys() - upper.keys():
        assert result[key] == lower[key]
        assert both.sources[key] == "under"
