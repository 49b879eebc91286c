"""The entry point: help is quick, and every failure is one line with its exit code."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from finkbridge import __version__
from finkbridge.cli import main as entry
from finkbridge.cli.options import App, lake_option, pass_app
from finkbridge.errors import AuthenticationError, SettingsError

SECRET = "hunter2-very-secret"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in an empty folder; the command ``drain`` is what a test makes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def _run(*arguments: str, drain: Callable[[App], object] = lambda app: None) -> tuple[int, str, str]:
        module = types.ModuleType("finkbridge.cli.drain")
        module.command = click.command()(lake_option(pass_app(drain)))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "finkbridge.cli.drain", module)
        code = entry.main(arguments)
        return code, *capsys.readouterr()

    return _run


def raising(error: BaseException) -> Callable[[App], object]:
    def drain(app: App) -> None:
        raise error

    return drain


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(run, arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert [name for name, text in entry.COMMANDS.items() if f"  {name} " not in out or text not in out] == []


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_shows_examples_line_by_line(name: str) -> None:
    command = entry.cli.get_command(click.Context(entry.cli), name)
    assert command is not None
    for shown in (command, *getattr(command, "commands", {}).values()):
        text = shown.get_help(click.Context(shown, info_name=name))
        assert "\\b" not in text
        assert not [line for line in text.splitlines() if line.count("finkbridge ") > 1]


def test_help_imports_no_command_and_no_library():
    code = (
        "import sys; from finkbridge.cli.main import main; main(['-h']); print(*sys.modules, file=sys.stderr)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stderr.split()
    light = {"finkbridge", "finkbridge.errors", "finkbridge.later", "finkbridge.text"}
    ours = {m for m in modules if m.startswith("finkbridge")}
    shared = {"finkbridge.cli.interrupting", "finkbridge.cli.main", "finkbridge.cli.options"}
    assert ours - light == {"finkbridge.cli"} | shared
    assert not {"pydantic", "rich", "yaml", "pyarrow", "numpy", "confluent_kafka", "asyncio"} & set(modules)


def test_help_of_a_command_loads_nothing_heavy() -> None:
    """A command's module has its options; what it does is loaded when it runs."""
    code = (
        "import click, sys; from finkbridge.cli.main import COMMANDS, cli; context = click.Context(cli);"
        "[cli.get_command(context, name).get_help(context) for name in COMMANDS];"
        "print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pyarrow", "duckdb", "datafusion", "numba", "sqlalchemy", "polars", "matplotlib", "fastavro"}
    heavy |= {"numpy", "confluent_kafka"}
    assert heavy & set(told.stdout.split()) == set()


def test_version(run):
    assert run("--version") == (0, f"finkbridge, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drian",), "No such command 'drian'. Did you mean 'drain'?"),
        (("qqq",), "No such command 'qqq' (see"),
        (("--nope",), "No such option '--nope'"),
        (("drain", "--nope"), "No such option '--nope'"),
        (("consumer", "-limt", "5"), "No such option '-limt'. (Did you mean one of: '--limit', '-limit'?)"),
        (("consumer", "-qqq=5"), "No such option '-qqq' (see"),
        (("consumer", "-q"), "No such option '-q' (see"),
        (("drain", "extra"), "unexpected extra argument"),
        (("--config",), "requires an argument"),
    ],
)
def test_bad_usage_is_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("finkbridge: error: ")
    assert err.endswith("--help`)\n")
    assert err.count("\n") == 1


def test_missing_module_is_one_line(run, monkeypatch):
    monkeypatch.setitem(entry.COMMANDS, "absent", "Not there.")
    assert run("--help")[0] == 0
    assert run("absent") == (
        1,
        "",
        f"finkbridge: error: the command absent is not part of finkbridge {__version__}\n",
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (AuthenticationError("ztf refuses: check it"), 1, "finkbridge: error: ztf refuses: check it"),
        (SettingsError("bad\nsetting"), 2, "finkbridge: error: bad setting"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.avro"),
            1,
            (
                "finkbridge: error: a.avro: No space left on device: free some space or use another folder, "
                "then run again"
            ),
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "lake"),
            1,
            (
                "finkbridge: error: lake: Permission denied: change its permissions or use another folder, "
                "then run again"
            ),
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            1,
            "finkbridge: error: Read-only file system: use a folder on another file system",
        ),
        (
            KeyError("x"),
            1,
            "finkbridge: error: unexpected KeyError: 'x' (run again with --verbose for the details)",
        ),
        (
            BrokenPipeError(errno.EPIPE, "Broken pipe"),
            1,
            (
                "finkbridge: error: unexpected BrokenPipeError: [Errno 32] Broken pipe "
                "(run again with --verbose for the details)"
            ),
        ),
        (KeyboardInterrupt(), 130, "finkbridge: interrupted"),
    ],
)
def test_failure_is_one_line(run, error, code, line):
    result, out, err = run("drain", drain=raising(error))
    assert (result, out, err.strip()) == (code, "", line)
    assert "Traceback" not in err


def test_exit_code_of_a_command(run):
    assert run("drain", drain=lambda app: click.get_current_context().exit(7))[0] == 7


def test_verbose_shows_the_traceback_of_the_unexpected_only(run):
    assert "Traceback" in run("-v", "drain", drain=raising(KeyError("x")))[2]
    assert "Traceback" not in run("-v", "drain", drain=raising(AuthenticationError("no")))[2]


def test_lake_and_config_reach_the_settings(run, tmp_path):
    (tmp_path / "my.toml").write_text('workers = 3\nlake = "toml"')
    seen: list[tuple[str, int | None]] = []

    def drain(app: App) -> None:
        settings = app.settings({"workers": None})
        seen.append((str(settings.lake), settings.workers))

    for arguments in (["drain"], ["--lake", "a", "drain"], ["--lake", "a", "drain", "--lake", "b"]):
        assert run("--config", "my.toml", *arguments, drain=drain)[0] == 0
    assert seen == [("toml", 3), ("a", 3), ("b", 3)]


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_secrets_are_masked_in_errors_tracebacks_and_logs(run, monkeypatch, verbose):
    monkeypatch.setenv("FINKBRIDGE_LEDGER", f"postgresql://me:{SECRET}@localhost/db")

    def drain(app: App) -> None:
        app.settings()
        logging.getLogger("finkbridge.x").warning("trying %s", SECRET)
        raise RuntimeError(f"cannot connect with {SECRET}")

    code, out, err = run(*verbose, "drain", drain=drain)
    assert (code, out) == (1, "")
    assert "finkbridge: warning: trying ********" in err
    assert "unexpected RuntimeError: cannot connect with ********" in err
    assert SECRET not in err


def test_logging_is_left_as_it_was(run):
    logger = logging.getLogger("finkbridge")
    before = (logger.level, list(logger.handlers), logger.propagate)
    run("-vv", "drain")
    assert (logger.level, logger.handlers, logger.propagate) == before


@pytest.mark.parametrize(
    ("toml", "environ", "message"),
    [
        ("laek = 1", {}, "laek (finkbridge.toml): no such setting, did you mean lake?"),
        ("x =", {}, "not valid TOML"),
        ("", {"FINKBRIDGE_WORKERS": "many"}, "workers (FINKBRIDGE_WORKERS): Input should be a valid integer"),
        ("", {"FINKBRIDGE_CONFIG": "gone.toml"}, "cannot read the settings file gone.toml"),
    ],
)
def test_bad_settings_are_2_and_one_line(run, tmp_path, monkeypatch, toml, environ, message):
    if toml:
        (tmp_path / "finkbridge.toml").write_text(toml)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    code, out, err = run("drain", drain=lambda app: app.settings())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("finkbridge: error: ")
    assert message in err


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""As users have it: what is printed waits in a buffer, which is sent off at the end at the latest."""


def finkbridge(*arguments: str, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "finkbridge.cli", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=BUFFERED, **options)


def test_closed_output_is_silent():
    reading, writing = os.pipe()
    os.close(reading)
    process = finkbridge("config", stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


def test_streams_that_the_caller_closed_are_no_error_and_no_file(tmp_path: Path) -> None:
    closing = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", sys.executable]
    environ = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([*closing, "-m", "finkbridge.cli", "config"], cwd=tmp_path, check=True, env=environ)
    code = (
        "from finkbridge.cli.__main__ import _open_streams; _open_streams(); import os\n"
        "print('lost'); file = open('data', 'w'); os.write(1, b'lost'); file.write(str(file.fileno()))"
    )
    subprocess.run([*closing, "-c", code], cwd=tmp_path, check=True)
    assert int((tmp_path / "data").read_text()) > 2


def test_full_disk_on_output_is_one_line():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with full.open("wb") as stdout:
        process = finkbridge("config", stdout=stdout)
        err = process.communicate()[1].decode()
    assert process.returncode == 1
    assert err.startswith("finkbridge: error: No space left on device: free some space")
    assert err.count("\n") == 1


def test_ctrl_c_from_outside(tmp_path):
    command = (
        "import sys, types, time, click; m = types.ModuleType('finkbridge.cli.drain');"
        "m.command = click.command()(lambda: (print('up', flush=True), time.sleep(60)));"
        "sys.modules['finkbridge.cli.drain'] = m;"
        "sys.argv = ['finkbridge', 'drain'];"
        "from finkbridge.cli.__main__ import program; program()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[1].strip() == b"finkbridge: interrupted"
    assert process.returncode == 130


@pytest.mark.parametrize("waits", [False, True])
def test_all_is_done_at_the_end(tmp_path: Path, waits: bool) -> None:
    """What is registered for the end, what is in the pipe's buffer, and threads that are to be waited for."""
    command = f"""
import atexit, sys, threading, time
from pathlib import Path
from finkbridge.cli import __main__ as ours
def main():
    atexit.register(Path("registered").touch)
    threading.Thread(target=lambda: (time.sleep(0.5), Path("thread").touch()), daemon=not {waits}).start()
    sys.stdout.write("x" * 70_000)
    return 3
ours.main = main
ours.program()
"""
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"x" * 70_000, b"")
    assert {file.name for file in tmp_path.iterdir()} == {"registered"} | ({"thread"} if waits else set())


@pytest.mark.parametrize("waits", [False, True])
def test_what_cannot_be_printed_does_not_change_the_exit_code(waits: bool) -> None:
    """Python flushes once more at its end, and exits with 120 if that fails."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    command = f"""
import sys, threading, time
from finkbridge.cli import __main__ as ours
def main():
    threading.Thread(target=time.sleep, args=(0.5,), daemon=not {waits}).start()
    sys.stdout.write("x" * 100)
    return 3
ours.main = main
ours.program()
"""
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-c", command], stdout=full, stderr=subprocess.PIPE, env=BUFFERED
        )
    assert (process.communicate()[1], process.returncode) == (b"", 3)


def test_workers_do_not_load_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('begins')\n"
        "import finkbridge.cli.__main__ as ours\n"
        "def work():\n"
        "    from finkbridge.workforce import Workforce\n"
        "    workforce = Workforce(1)\n"
        "    for submit in (workforce.submit, workforce.submit_alone):\n"
        "        print(submit(eval, \"__import__('sys').modules.get('finkbridge.cli')\").result())\n"
        "    workforce.close()\n"
        "    return 0\n"
        "if __name__ == '__main__':\n"
        "    ours.main = work\n"
        "    ours.program()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout.splitlines()) == ("", ["begins", "None", "None"])


@pytest.mark.parametrize(
    "words",
    [
        ("consumer", "-maxtimeout", "nan"),
        ("republish", "t", "--to", "u", "--rate", "inf"),
        ("republish", "t", "--to", "u", "--longest-pause", "nan"),
        ("bot", "-rate", "nan"),
        ("transfer", "-topic", "ftransfer_t", "-maxtimeout", "nan"),
    ],
)
def test_what_is_no_number_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(list(words)) == 2
    assert "is not a finite number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "content", "may"),
    [
        ({}, None, False),
        ({}, "[clusters.ztf]\nservers = 'a:1'\n", False),
        ({}, "workers = 0\n", True),
        ({"FINKBRIDGE_WORKERS": "0"}, None, True),
    ],
)
def test_whether_a_key_is_spoken_of_is_known_before_settings_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    content: str | None,
    *,
    may: bool,
) -> None:
    """A transfer starts its server of workers by it: never where `workers = 0` may be set."""
    monkeypatch.chdir(tmp_path)
    for name in ("FINKBRIDGE_WORKERS", "FINKBRIDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    if content is not None:
        Path("finkbridge.toml").write_text(content)
    assert App().may_set("workers") is may
    if content is not None:
        Path("finkbridge.toml").rename("other.toml")
        assert App(config=Path("other.toml")).may_set("workers") is may
        assert not App().may_set("workers")
