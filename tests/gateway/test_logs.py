"""Logs: one line for each message, nothing in them that a terminal would obey, no passwords."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest import logs

_log = logging.getLogger("nest.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    root.handlers[:], root.level, sys.excepthook = handlers, level, hook
    logging.captureWarnings(False)


def written(form: logs.Format, speak: Callable[[], object], *, quiet: bool = False) -> str:
    stream = io.StringIO()
    logs.configure(form, quiet=quiet, stream=stream)
    speak()
    return stream.getvalue()


def spoken_json(speak: Callable[[], object]) -> dict[str, Any]:
    (line,) = written("json", speak).splitlines()
    return json.loads(line)


def test_text_for_people() -> None:
    text = written("text", lambda: _log.warning("the database refuses (%s)", "disk full"))
    assert text.endswith(" WARNING nest.test: the database refuses (disk full)\n")
    assert text[10] == "T"
    assert text.split()[0].endswith("Z")


def test_json_for_programs() -> None:
    said = spoken_json(lambda: _log.warning("gateway %s is back", "00ff", extra={"gateway": "00ff", "frames": 3}))
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "warning",
        "logger": "nest.test",
        "message": "gateway 00ff is back",
        "fields": {"gateway": "00ff", "frames": 3},
    }


def fail() -> None:
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        _log.exception("it broke")


def test_a_traceback_is_told_without_colours() -> None:
    said = spoken_json(fail)
    assert said["traceback"][-1] == "ValueError: \x1b[31mred"  # escaped in the JSON: this is what a reader decodes
    text = written("text", fail)
    assert "\x1b" not in text
    assert text.splitlines()[-1] == "    ValueError: \\x1b[31mred"


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=st.text(st.characters(exclude_categories=())))
def test_whatever_is_said_stays_one_printable_line(form: logs.Format, text: str) -> None:
    line = written(form, lambda: _log.info("heard %s", text, extra={"field": text}))
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    line.encode()
    if form == "json":
        assert json.loads(line)["fields"]["field"] == logs.blotted(text)


def test_a_forged_line_is_no_line_of_its_own() -> None:
    text = written("text", lambda: _log.info("node %s", "x\n2026-05-01T12:00:00.000Z ERROR nest: all is lost"))
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_passwords_and_tokens_are_blotted_out(form: logs.Format) -> None:
    def speak() -> None:
        _log.info("away: mqtts://nest:s3cret@broker:8883", extra={"header": "Authorization: Bearer s3cret-s3cret"})
        try:
            raise OSError("mqtt://nest:s3cret@broker")
        except OSError:
            _log.exception("no way to mqtt://nest:s3cret@broker")

    text = written(form, speak)
    assert "s3cret" not in text
    assert "broker:8883" in text


def test_quiet_says_what_matters() -> None:
    def speak() -> None:
        _log.info("all is well")
        _log.warning("all is not well")

    assert "all is well" not in (text := written("text", speak, quiet=True))
    assert "all is not well" in text
    assert "all is well" in written("text", speak)


def test_libraries_chatter_is_left_out() -> None:
    assert written("text", lambda: logging.getLogger("asyncio").warning("slow callback")) == ""


def test_a_message_that_does_not_fit_its_arguments_is_told_all_the_same() -> None:
    assert "%d of %d" in written("text", lambda: _log.info("%d of %d", 1))


def test_the_end_by_a_mistake_is_a_line_of_the_log() -> None:
    said = spoken_json(lambda: sys.excepthook(ValueError, ValueError("never mind"), None))
    assert said["level"] == "critical"
    assert said["traceback"][-1] == "ValueError: never mind"


@pytest.mark.parametrize("form", ["text", "json"])
def test_connections_that_are_cancelled_at_the_end_are_no_errors(form: logs.Format) -> None:
    async def serve(ending: type[BaseException]) -> None:
        begun = asyncio.Event()

        async def handle(*_: object) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise ending from None

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await begun.wait()
            (task,) = (task for task in asyncio.all_tasks() if "handle" in repr(task))
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)  # asyncio looks at how it ended
            writer.close()

    assert written(form, lambda: asyncio.run(serve(asyncio.CancelledError))) == ""
    assert "ZeroDivisionError" in written(form, lambda: asyncio.run(serve(ZeroDivisionError)))
