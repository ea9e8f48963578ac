"""English and German from one gettext catalogue (`locale/de.po`); the English sentence is the key."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from nest.errors import UserError

LANGUAGES = ("en", "de")
SPATZ_LANG = "SPATZ_LANG"
"""Environment variable: the language, whatever the locale says. Processes that are started inherit it."""

_OPTION = "--lang"
_LANG_GERMAN = 0x07  # of a Windows language identifier, the lower ten bits [Microsoft: Language Identifier Constants]
_CATALOGUE = Path(__file__).parent / "locale" / "de.po"


@functools.cache
def language_of_locale() -> str:
    """The language of the person at the terminal: what was asked for, else LANGUAGE, LC_ALL, LC_MESSAGES, LANG, in
    gettext's order, else that of the system."""
    if asked := asked_language():
        return asked
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "de" if value.split(":")[0].lower().startswith("de") else "en"
    return _language_of_system()


def _language_of_system() -> str:
    """What the system is set to; Windows sets no variables."""
    if sys.platform == "win32":
        import ctypes

        german = ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == _LANG_GERMAN
    else:
        import locale

        german = (locale.getlocale()[0] or "").lower().startswith("de")
    return "de" if german else "en"


def asked_language() -> str | None:
    """What --lang says, or SPATZ_LANG; None when neither is there, or is a language that we do not speak.

    The command line is read here, and not only by typer, because help texts are made while modules are imported.
    """
    _, asked = _without_option(sys.argv)
    for language in (asked, os.environ.get(SPATZ_LANG)):
        if language in LANGUAGES:
            return language
    return None


def set_language(language: str) -> None:
    """Speak it from now on, here and in the processes that are started. Raises UserError: we do not speak it."""
    if language not in LANGUAGES:
        raise UserError(
            tr("The language {language} is not known.", language=repr(language)), tr("Write --lang de or --lang en.")
        )
    os.environ[SPATZ_LANG] = language
    language_of_locale.cache_clear()


def take_language() -> None:
    """Take --lang out of the command line, wherever it stands. To be called before it is read. Raises UserError."""
    sys.argv[:], asked = _without_option(sys.argv)
    if asked is not None:
        set_language(asked)


def _without_option(arguments: list[str]) -> tuple[list[str], str | None]:
    """(the arguments without --lang, its last value: "" when there is none behind it, None without the option)."""
    left, asked, at = [], None, 0
    while at < len(arguments):
        argument = arguments[at]
        if argument == "--":
            break
        if argument == _OPTION:
            at += 1
            asked = arguments[at] if at < len(arguments) else ""
        elif argument.startswith(_OPTION + "="):
            asked = argument.removeprefix(_OPTION + "=")
        else:
            left.append(argument)
        at += 1
    return left + arguments[at:], asked


@functools.cache
def _german() -> dict[str, str]:
    from babel.messages.pofile import read_po  # imported only when German is spoken: it costs start-up time

    with _CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="de")
    return {str(message.id): str(message.string) for message in catalogue if message.id and message.string}


def translate(message: str, language: str) -> str:
    """`message` in `language`; the English sentence itself where the catalogue has none."""
    return _german().get(message, message) if language == "de" else message


def tr(message: str, **values: object) -> str:
    """`message` in the terminal's language, with `{name}` fields filled in: `tr("No file {path}.", path=p)`."""
    text = translate(message, language_of_locale())
    return text.format(**values) if values else text
