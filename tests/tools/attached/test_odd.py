"""Boards that answer like no node of ours, and a program that is ended while it waits for boards."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from nest.errors import EXIT_USER_ERROR, UserError
from spatz.attached import repl as library
from spatz.attached import snippets
from spatz.cli import app
from tools.attached.odd import OddBoard
from typer.testing import CliRunner, Result

DEEP = "[" * 3000
WHO = '{"name": "zeisig", "board": 7, "led": [], "dev_eui": "x"}'  # the rest of its config.json makes no sense


def spatz(*words: str) -> Result:
    """What a person sees: a sentence of ours, never a traceback."""
    told = CliRunner().invoke(app, words)
    assert told.exception is None or isinstance(told.exception, SystemExit | UserError), told.exception
    return told


def said(told: Result) -> str:
    return f"{told.output}{told.exception if isinstance(told.exception, UserError) else ''}"


@pytest.mark.parametrize("answer", ["[]", "null", '"x"', DEEP, "1e999", "{}x", ""])
def test_whatever_a_board_answers_no_command_ends_in_a_traceback(answer: str, registry: Path) -> None:
    with OddBoard(registry, "1-1", lambda _: answer):
        for words in (["logs", "--stored"], ["doctor"], ["update"], ["identify", "--seconds", "0"]):
            told = spatz(*words)
            assert told.exit_code == EXIT_USER_ERROR or isinstance(told.exception, UserError), (words, said(told))
        for words in (["logs", "amsel", "--stored"], ["doctor", "amsel"], ["update", "amsel"]):
            assert 'There is no board "amsel"' in said(spatz(*words))


@pytest.mark.parametrize(
    ("paths", "content"),
    [("5", ""), ("[{}]", '""'), ('["log/0.bin"]', "7"), ('["log/0.bin"]', '"a"'), ('["log/0.bin"]', '"\u00e4"')],
)
def test_a_log_that_is_none_is_told_of_in_a_sentence(paths: str, content: str, registry: Path) -> None:
    answers = {snippets.WHO: WHO, snippets.LIST_LOG: paths}

    def answer(script: str) -> str:
        return answers.get(script, content)

    with OddBoard(registry, "1-1", answer):
        assert "not as a Funkspatz node" in said(spatz("logs", "--stored"))


def test_a_board_that_makes_no_sense_does_not_hide_another_one(registry: Path) -> None:
    def zeisig(script: str) -> str:
        return WHO if script == snippets.WHO else "[]"

    with OddBoard(registry, "1-1", lambda _: "[]"), OddBoard(registry, "1-2", zeisig):
        told = spatz("logs", "zeisig", "--stored")
        assert told.exit_code == 0, said(told)
        assert "zeisig has written down 0 readings." in told.output


def test_a_question_that_goes_under_is_asked_again(registry: Path) -> None:
    with OddBoard(registry, "1-1", lambda script: WHO if script == snippets.WHO else "[]", misses=1):
        told = spatz("logs", "zeisig", "--stored")
        assert told.exit_code == 0, said(told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_ended_lets_all_boards_go_at_once(
    number: signal.Signals, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_PATIENCE_S", "_TRY_S"):
        monkeypatch.setattr(library, name, 0.05)
    pressed = threading.Event()

    def press(asleep: OddBoard, stuck: OddBoard) -> None:
        """When one waits for its button, and the other one is in the middle of an answer."""
        assert stuck.stuck.wait(30)
        until = time.monotonic() + 30
        while asleep.interrupts < 5:
            assert time.monotonic() < until
            time.sleep(0.01)
        pressed.set()
        end()

    def end() -> None:
        os.kill(os.getpid(), number)

    with (
        OddBoard(registry, "1-1", None) as asleep,
        OddBoard(registry, "1-2", lambda _: None, resets=end) as stuck,  # nobody presses Ctrl-C only once
        contextlib.ExitStack() as stack,
    ):
        presser = threading.Thread(target=press, args=(asleep, stuck))
        presser.start()
        stack.callback(presser.join)
        began = time.monotonic()
        told = CliRunner().invoke(app, ["update", "--all"])
        assert pressed.is_set()
        assert time.monotonic() < began + 12  # and not after the minute that a button has
        assert told.exit_code != 0
        assert "Ending; the nodes are let go." in told.output
        assert stuck.let_go.is_set()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
