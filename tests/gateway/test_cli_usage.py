"""A command line that is written wrongly: one sentence and a next step, in the user's language, exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from .commands import Here, check_said
from .running import nest_command

WRONG: dict[tuple[str, ...], tuple[str, str]] = {
    ("nodes", "list"): ("FOLDER is missing.", "FOLDER fehlt."),
    ("send", "x"): ("NODE is missing.", "NODE fehlt."),
    ("init", "x"): ("The option --name is missing.", "Die Option --name fehlt."),
    ("init", "x", "--nam", "y"): (
        "There is no option --nam. Perhaps --name is meant.",
        "Eine Option --nam gibt es nicht. Vielleicht ist --name gemeint.",
    ),
    ("run", "x", "-z"): ("There is no option -z.", "Eine Option -z gibt es nicht."),
    ("statu",): (
        "There is no command statu. Perhaps status is meant.",
        "Einen Befehl statu gibt es nicht. Vielleicht ist status gemeint.",
    ),
    ("nodes", "fly"): ("There is no command fly.", "Einen Befehl fly gibt es nicht."),
    ("status", "x", "y", "z"): ("There is too much in the line: y z", "Das ist zu viel in der Zeile: y z"),
    ("init", "x", "--name"): ("The option --name needs a value.", "Die Option --name braucht einen Wert."),
    ("run", "x", "--quiet=3"): ("The option --quiet takes no value.", "Die Option --quiet nimmt keinen Wert."),
    ("init", "x", "--name", "y", "--latitude", "99"): (
        "--latitude: at most 90 was expected.",
        "--latitude: erwartet wird höchstens 90.",
    ),
    ("init", "x", "--name", "y", "--longitude", "east"): (
        "--longitude: a number was expected.",
        "--longitude: erwartet wird eine Zahl.",
    ),
    ("send", "x", "y", "--hex", "00", "--port", "0"): (
        "--port: at least 1 was expected.",
        "--port: erwartet wird mindestens 1.",
    ),
    ("send", "x", "y", "--hex", "00", "--port", "1.5"): (
        "--port: a whole number was expected.",
        "--port: erwartet wird eine ganze Zahl.",
    ),
    ("run", "x", "--log-format", "xml"): (
        "--log-format: one of 'text', 'json' was expected.",
        "--log-format: erwartet wird eines von 'text', 'json'.",
    ),
}


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("command", WRONG, ids=" ".join)
def test_a_wrong_line_is_one_sentence_and_a_next_step(here: Here, command: tuple[str, ...], language: str) -> None:
    done = here(*command, language=language)
    check_said(done, WRONG[command][language == "de"])
    assert "--help" in done.stderr
    assert done.stdout == ""


def test_the_next_step_names_the_command(here: Here) -> None:
    assert "nest nodes list --help" in here("nodes", "list").stderr


def test_nothing_that_a_terminal_would_obey_comes_back(here: Here) -> None:
    done = here("status", "x", "\x1b[2J")
    assert "\x1b" not in done.stderr
    check_said(done, "x1b[2J")


@pytest.mark.parametrize("command", [(), ("nodes",), ("gateways",)])
def test_without_a_command_the_help_is_the_answer(here: Here, command: tuple[str, ...]) -> None:
    done = here(*command)
    assert "Usage:" in done.stdout + done.stderr
    assert "→" not in done.stderr


@pytest.mark.parametrize(("language", "sentence"), [("en", "is missing."), ("de", "fehlt.")])
def test_the_installed_command_says_it_too(language: str, sentence: str) -> None:
    done = nest_command("run", language=language)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_good_line_ends_well(tmp_path: Path) -> None:
    assert nest_command("--version").returncode == 0
    assert nest_command("run", "--help").returncode == 0
    assert nest_command("init", tmp_path / "t", "--name", "Ort", "--mqtt-port", 0).returncode == 0
