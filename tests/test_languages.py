"""Every sentence a person can meet is there in German too, with the same fields in it."""

from __future__ import annotations

import ast
import ctypes
import functools
import locale
import os
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from babel.messages.pofile import read_po
from nest import i18n

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (ROOT / "gateway" / "nest", ROOT / "tools" / "spatz")
FUNCTIONS = {"tr", "translate"}
CATALOGUE = ROOT / "gateway" / "nest" / "locale" / "de.po"


@functools.cache
def german() -> dict[str, str]:
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="de", abort_invalid=True)
    return {str(message.id): str(message.string) for message in catalogue if message.id}


def said() -> dict[str, str]:
    """Each literal English sentence of the Python code -> where it stands."""
    found = {}
    for path in (path for package in PACKAGES for path in sorted(package.rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[0]
            if name in FUNCTIONS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found[first.value] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


SAID = said()


@pytest.mark.parametrize("sentence", SAID, ids=SAID.get)
def test_every_sentence_is_there_in_german(sentence: str) -> None:
    assert german().get(sentence), f"{sentence!r} is missing in {CATALOGUE.name}"


def test_translations_have_the_same_fields() -> None:
    different = [english for english, text in german().items() if text and fields(english) != fields(text)]
    assert not different


def test_no_sentence_stands_in_the_catalogue_twice() -> None:
    ids = re.findall(r'^msgid "(.+)"$', CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(ids) == len(set(ids))


# --lang


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from {program}.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LANGUAGE": "en", "COLUMNS": "120", **environment},
    )


@pytest.mark.parametrize(
    ("program", "arguments", "environment", "german"),
    [
        ("spatz", ("--lang", "de", "--help"), {}, True),
        ("nest", ("--help", "--lang=de"), {}, True),
        ("spatz", ("--help", "--lang=en"), {"LANGUAGE": "de"}, False),
        ("spatz", ("--help",), {"SPATZ_LANG": "de"}, True),
        ("nest", ("--help", "--lang", "en"), {"SPATZ_LANG": "de", "LANGUAGE": "de"}, False),
        ("spatz", ("--help",), {"SPATZ_LANG": "tlh"}, False),
    ],
)
def test_the_language_stands_anywhere_on_the_line_and_help_speaks_it(
    program: str, arguments: tuple[str, ...], environment: dict[str, str], german: bool
) -> None:
    ended = run(program, *arguments, **environment)
    assert ended.returncode == 0, ended.stderr
    assert ("Die Sprache, irgendwo in der Zeile." in ended.stdout) == german
    assert ("The language, anywhere on the line." in ended.stdout) != german


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("spatz", ("boards", "show", "nothing")), ("nest", ("status", "nowhere"))],
)
def test_commands_get_the_line_without_it(program: str, arguments: tuple[str, ...]) -> None:
    without = run(program, *arguments, SPATZ_LANG="de")
    for at in (1, len(arguments)):
        ended = run(program, *arguments[:at], "--lang", "de", *arguments[at:])
        assert (ended.returncode, ended.stderr) == (2, without.stderr)


@pytest.mark.parametrize(
    ("program", "arguments"), [("spatz", ("--lang", "fr")), ("nest", ("--lang",)), ("spatz", ("--lang=",))]
)
def test_a_language_that_nobody_speaks(program: str, arguments: tuple[str, ...]) -> None:
    ended = run(program, *arguments)
    assert ended.returncode == 2
    assert "--lang de" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_is_behind_two_dashes_is_nobody_s_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["spatz", "x", "--", "--lang", "de"])
    monkeypatch.delenv(i18n.SPATZ_LANG, raising=False)
    assert i18n.asked_language() is None
    i18n.take_language()
    assert sys.argv == ["spatz", "x", "--", "--lang", "de"]


def test_processes_that_are_started_speak_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["spatz", "--lang", "de", "x"])
    monkeypatch.setenv(i18n.SPATZ_LANG, "en")
    i18n.take_language()
    assert sys.argv == ["spatz", "x"]
    assert os.environ[i18n.SPATZ_LANG] == "de"
    i18n.language_of_locale.cache_clear()


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", ["spatz"])
    for name in (i18n.SPATZ_LANG, "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    i18n.language_of_locale.cache_clear()
    yield
    i18n.language_of_locale.cache_clear()


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(("number", "language"), [(0x0407, "de"), (0x0C07, "de"), (0x0409, "en"), (0x0807, "de")])
def test_windows_sets_no_variables_and_says_it_all_the_same(
    monkeypatch: pytest.MonkeyPatch, number: int, language: str
) -> None:
    kernel = SimpleNamespace(GetUserDefaultUILanguage=lambda: number)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert i18n.language_of_locale() == language
    i18n.language_of_locale.cache_clear()
    monkeypatch.setenv("LANG", "en_GB.UTF-8" if language == "de" else "de_DE.UTF-8")
    assert i18n.language_of_locale() != language, "variables go first"


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(("said", "language"), [("de_AT", "de"), ("fr_FR", "en"), (None, "en")])
def test_elsewhere_the_locale_says_it(monkeypatch: pytest.MonkeyPatch, said: str | None, language: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(locale, "getlocale", lambda: (said, "UTF-8"))
    assert i18n.language_of_locale() == language
