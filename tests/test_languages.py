"""Every sentence a person can meet is there in German too, with the same fields in it."""

from __future__ import annotations

import ast
import functools
import re
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

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
