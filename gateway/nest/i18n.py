"""English and German from one gettext catalogue (`locale/de.po`); the English sentence is the key."""

from __future__ import annotations

import functools
import os
from pathlib import Path

LANGUAGES = ("en", "de")
_CATALOGUE = Path(__file__).parent / "locale" / "de.po"


@functools.cache
def language_of_locale() -> str:
    """The language of the person at the terminal: LANGUAGE, LC_ALL, LC_MESSAGES, LANG, in gettext's order."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "de" if value.split(":")[0].lower().startswith("de") else "en"
    return "en"


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
