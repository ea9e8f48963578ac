"""The command line `spatz`: help, version, and what it says when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nest.i18n import translate


def spatz(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from spatz.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LANGUAGE": "en", "COLUMNS": "100", **environment},
    )


def test_version() -> None:
    ended = spatz("--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("spatz 0.")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ("demo", "simulate", "boards")),
        (("demo",), ("--nodes", "--seconds", "--port", "--no-browser", "--json", "Examples:", "spatz demo --nodes 20")),
        (("simulate",), ("--server", "--keys", "--town", "--board", "Examples:", "spatz simulate --nodes 10")),
        (("boards", "list"), ("--json", "Examples:", "spatz boards list --json")),
        (("boards", "show"), ("--json", "Examples:", "spatz boards show heltec-v3")),
        (("boards", "check"), ("--json", "Examples:", "spatz boards check boards/my-board.toml")),
    ],
)
@pytest.mark.parametrize("language", ["en", "de"])
def test_help_shows_options_and_examples(command: tuple[str, ...], words: tuple[str, ...], language: str) -> None:
    ended = spatz(*command, "--help", LANGUAGE=language)
    assert ended.returncode == 0
    for word in words:
        assert (translate(word, language) if word == "Examples:" else word) in ended.stdout


MISTAKES = [
    (("demo", "--nodes", "0"), "--nodes is 0; possible are 1 to 1000."),
    (("demo", "--nodes", "5000"), "--nodes is 5000; possible are 1 to 1000."),
    (("demo", "--interval", "1"), "--interval is 1; possible are 5 to 86400."),
    (("demo", "--port", "70000"), "--port is 70000; possible are 0 to 65535."),
    (("demo", "--board", "heltec-v9"), 'There is no board "heltec-v9".'),
    (("demo", "--seconds", "-1"), "--seconds is -1.0; possible are 0 to 31536000."),
    (("simulate", "--server", "x:y"), '"x:y" is not an address of a server.'),
    (("simulate", "--server", "127.0.0.1:1700", "--loss", "2"), "--loss is 2.0; possible are 0 to 1."),
    (("simulate", "--server", "127.0.0.1:1700", "--gateways", "0"), "--gateways is 0; possible are 1 to 100."),
    (
        ("simulate", "--server", "127.0.0.1:1700", "--keys", "/nowhere/keys"),
        "The keys cannot be written to /nowhere/keys",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_one_sentence_and_the_next_step(arguments: tuple[str, ...], message: str) -> None:
    ended = spatz(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert lines[0].startswith(message)
    assert lines[1].startswith("→ ")
    assert len(lines) == 2


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_the_same_in_german(arguments: tuple[str, ...], message: str) -> None:
    ended = spatz(*arguments, LANGUAGE="de")
    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    assert len(lines) == 2
    assert not lines[0].startswith(message)


@pytest.mark.parametrize("command", [("demo",), ("simulate", "--server", "127.0.0.1:1700")])
def test_a_missing_micropython(command: tuple[str, ...]) -> None:
    ended = spatz(*command, MICROPYTHON="/no/such/micropython")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[0] == "MICROPYTHON says /no/such/micropython, but no program is there."
    assert "Traceback" not in ended.stderr


def test_a_program_that_is_not_micropython() -> None:
    ended = spatz("demo", MICROPYTHON=sys.executable)
    assert (ended.returncode, ended.stdout) == (2, "")
    said = ended.stderr.splitlines()[0]
    assert said == f"MICROPYTHON says {sys.executable}, but that is not MicroPython 1.24 or later."


def test_micropython_by_its_path() -> None:
    """The wheel's console script, named as an own build would be."""
    wanted = str(Path(sys.executable).parent / "micropython")
    ended = spatz("demo", "--nodes", "1", "--seconds", "2", "--json", "--port", "0", MICROPYTHON=wanted)
    assert (ended.returncode, ended.stderr) == (1, ""), "started, and too short to deliver"


def test_a_server_without_an_address() -> None:
    ended = spatz("simulate", "--server", "no-such-host.invalid:1700", "--seconds", "1")
    assert ended.returncode == 2
    assert ended.stderr.startswith("The server no-such-host.invalid:1700 cannot be reached: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("fly",), ("demo", "--wings"), ("demo", "--nodes", "many"), ("simulate",)],
    ids=" ".join,
)
def test_usage_errors_end_with_2(arguments: tuple[str, ...]) -> None:
    ended = spatz(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Usage:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_color_means_no_colour() -> None:
    ended = spatz("demo", "--nodes", "0", NO_COLOR="1", FORCE_COLOR="")
    assert "\x1b" not in ended.stderr
