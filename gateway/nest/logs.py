"""Logs on standard error: lines for people, or one JSON object a line for programs.

Whatever was heard on the air or typed into an address may stand in a message, so nothing that a terminal or a log
reader would obey gets through: every character that cannot be printed is escaped, and a message stays one line.
Passwords in addresses and bearer tokens are blotted out; keys are never handed to a logger in the first place.

| field of the JSON | what |
| --- | --- |
| `time` | ISO 8601 in UTC with milliseconds |
| `level` | debug, info, warning, error, critical |
| `logger` | the module that speaks |
| `message` | one sentence |
| `fields` | what was given by `extra=`; only where there is any |
| `traceback` | only with an exception |
"""

from __future__ import annotations

import json
import logging
import re
import sys
from types import TracebackType
from typing import Literal, TextIO

from nest.moments import iso

Format = Literal["text", "json"]

QUIETER = ("amqtt", "asyncio", "mqtt", "transitions", "uvicorn", "uvicorn.error", "websockets")
_NOT_FIELDS = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"])
_SECRETS = (
    (re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)"), r"\1:***"),
    (re.compile(r"(?i)\b(bearer\s+)[\w~+/.=-]+"), r"\1***"),
)


def configure(form: Format = "text", *, quiet: bool = False, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error); `quiet`: only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(Json() if form == "json" else Text())
    handler.addFilter(_is_no_cancelled_connection)
    root = logging.getLogger()
    for before in root.handlers[:]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(logging.WARNING if quiet else logging.INFO)
    for name in QUIETER:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught


def printable(text: object) -> str:
    """`text` on one line, without anything that a terminal would obey: `\\x1b[2J` comes out as those six letters."""
    written = str(text)
    return written if written.isprintable() else "".join(map(_escaped, written))


def blotted(text: str) -> str:
    """`text` without the passwords in its addresses and without bearer tokens."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class Text(logging.Formatter):
    """`2026-05-01T12:00:00.250Z WARNING nest.server: the database refuses`, a traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{iso(record.created)} {record.levelname} {record.name}: {_message(record)}"]
        lines += [f"    {printable(line)}" for line in _traceback(self, record)]
        return "\n".join(lines)


class Json(logging.Formatter):
    """One JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if fields := {name: value for name, value in vars(record).items() if name not in _NOT_FIELDS}:
            said["fields"] = fields
        if traceback := _traceback(self, record):
            said["traceback"] = traceback
        text = blotted(json.dumps(said, ensure_ascii=False, default=str))
        return text if text.isprintable() else "".join(map(_json_escaped, text))


def _is_no_cancelled_connection(record: logging.LogRecord) -> bool:
    """At the end connections are cancelled; `asyncio.streams` of Python 3.11.7 takes that for an error of theirs."""
    kind = record.exc_info[0] if record.exc_info else None
    if record.name != "asyncio" or kind is None:
        return True
    import asyncio  # it is there already; who has none shall not wait for it

    return not issubclass(kind, asyncio.CancelledError)


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """The end by a mistake of ours is a line of the log like any other."""
    if not issubclass(kind, Exception):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("nest").critical("the nest ends by a mistake of its own", exc_info=(kind, error, traceback))


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # a message that does not fit its arguments is better than none
        text = f"{record.msg} {record.args!r}"
    return blotted(printable(text))


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    return [blotted(line) for line in formatter.formatException(record.exc_info).splitlines()]


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def _json_escaped(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]
