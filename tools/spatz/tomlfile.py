"""TOML files that people write, read with errors that name the file, the line, what was found and what was expected."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from nest.errors import UserError
from nest.i18n import tr
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from tomlkit.exceptions import ParseError, TOMLKitError

Location = tuple[int | str, ...]
Model = TypeVar("Model", bound="Table")

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


class Table(BaseModel):
    """A table of a hand-written file. Unknown keys are refused: a misspelt key is a setting that does nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file."""

    path: Path
    line: int  # 1 is the first; 1 also when the whole file is meant
    key: str  # "radio.spi.sck", or "" for the file itself
    found: str  # as written, or "nothing"
    expected: str

    def __str__(self) -> str:
        return tr(
            "{file}, line {line}: {key} is {found}, expected {expected}.",
            file=self.path,
            line=self.line,
            key=self.key or tr("the file"),
            found=self.found,
            expected=self.expected,
        )


def lines_of(text: str) -> dict[Location, int]:
    """Where every table and key stands: `("radio", "spi") -> 12`. Keys inside an inline table share its line.

    A scanner, not a parser: it is asked only about texts that a parser has read, to say where something stood.
    """
    found: dict[Location, int] = {}
    table: Location = ()
    counts: dict[Location, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = tuple(part.strip("\"'") for part in _PART.findall(header[2]))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *(part.strip("\"'") for part in _PART.findall(key[1]))), number)
    return found


def line_of(lines: Mapping[Location, int], location: Location) -> int:
    """The line of `location`, or of the nearest thing around it."""
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return 1


def read(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """The file as plain values, and where its keys stand.

    Raises:
        UserError: the file is missing, not readable, or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(tr("There is no file {file}.", file=path), tr("Check the path for a typing mistake.")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            tr("{file} cannot be read: {reason}.", file=path, reason=error),
            tr("It must be a text file that you may read."),
        ) from None
    try:
        return tomlkit.parse(text).unwrap(), lines_of(text)
    except ParseError as error:
        problem = Problem(path, error.line, "", tr("not TOML"), tr("TOML ({reason})", reason=_reason(error)))
        raise user_error([problem]) from None
    except TOMLKitError as error:
        raise user_error([Problem(path, 1, "", tr("not TOML"), tr("TOML ({reason})", reason=error))]) from None


def _reason(error: ParseError) -> str:
    return re.sub(r" at line \d+ col \d+$", "", str(error))


def validate(path: Path, model: type[Model], data: dict[str, Any], lines: Mapping[Location, int]) -> Model:
    """`data` as `model`.

    Raises:
        UserError: every problem found, one line each.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise user_error([_problem(path, lines, data, details) for details in error.errors()]) from None


def user_error(problems: list[Problem]) -> UserError:
    """All problems of a file as one error with a next step."""
    return UserError(
        "\n".join(str(problem) for problem in problems),
        tr("Mend that line and try again; boards/heltec-v3.toml is a good example."),
    )


def _problem(path: Path, lines: Mapping[Location, int], data: Any, details: ErrorDetails) -> Problem:
    location = tuple(part for part in details["loc"] if part != "[key]")
    kind = details["type"]
    if kind == "missing":
        found = tr("missing")
    elif kind == "extra_forbidden":
        found = tr("unknown")
    else:
        found = shown(details["input"])
    where = location[:-1] if kind == "missing" else location
    return Problem(path, line_of(lines, where), dotted(location), found, _expected(kind, details))


def dotted(location: Location) -> str:
    """`("radio", "spi", "sck")` as people write it: radio.spi.sck."""
    return ".".join(str(part) for part in location)


def shown(value: Any) -> str:
    """A value as it stands in the file, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, Mapping):
        return tr("a table")
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _expected(kind: str, details: ErrorDetails) -> str:
    """What pydantic wanted, in plain words; its own message for kinds that no table of ours uses."""
    context = {str(key): value for key, value in details.get("ctx", {}).items()}
    words = {
        "missing": tr("a value, this key must be there"),
        "extra_forbidden": tr("a key that Funkspatz knows (is it misspelt?)"),
        "int_type": tr("a whole number"),
        "int_from_float": tr("a whole number"),
        "float_type": tr("a number"),
        "string_type": tr("a text in quotes"),
        "bool_type": tr("true or false"),
        "list_type": tr("a list in square brackets"),
        "dict_type": tr("a table"),
        "model_type": tr("a table"),
        "model_attributes_type": tr("a table"),
        "literal_error": tr("one of {values}", values=context.get("expected", "")),
        "greater_than_equal": tr("at least {limit}", limit=context.get("ge", "")),
        "greater_than": tr("more than {limit}", limit=context.get("gt", "")),
        "less_than_equal": tr("at most {limit}", limit=context.get("le", "")),
        "less_than": tr("less than {limit}", limit=context.get("lt", "")),
        "too_short": tr("at least {limit} entries", limit=context.get("min_length", "")),
        "too_long": tr("at most {limit} entries", limit=context.get("max_length", "")),
        "string_too_short": tr("a text that is not empty"),
        "string_pattern_mismatch": tr("small letters, digits and - only"),
    }
    return words.get(kind, details["msg"])
