"""Boards and ports that hang: whoever waits for them gets a sentence, and is let go by Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from serial import SerialTimeoutException
from spatz import cli_attached
from spatz.attached import repl as library
from spatz.attached.repl import Repl, attach
from spatz.cli import app
from spatz.troubles import Trouble
from spatz.usb import Port
from tools.attached.odd import OddBoard, at_most, full_port
from typer.testing import CliRunner

ENOUGH_S = 12.0
BRIDGED = Port("COM3", 0x10C4, 0xEA60, "0001A")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has patience."""
    for name in ("_PATIENCE_S", "_TRY_S", "_STUCK_S", "_LAST_S"):
        monkeypatch.setattr(library, name, 0.05)
    for name in ("_CHATTER_S", "_PROMPT_S"):
        monkeypatch.setattr(library, name, 0.5)


@pytest.mark.parametrize("native", [True, False])
def test_a_port_that_takes_no_more_bytes_is_a_node_that_does_not_answer(native: bool, registry: Path) -> None:
    said: list[str] = []
    with full_port(registry, "1-1", native=native) as port, at_most(ENOUGH_S):
        with pytest.raises(Trouble) as raised, attach(port, say=said.append, wait_s=0.1):
            pytest.fail("it went on")
        assert raised.value.kind == "no_repl"
        assert "RST" in said[0]


def test_ctrl_c_ends_the_wait_for_a_port_that_takes_no_more_bytes(registry: Path) -> None:
    def press(_text: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with (
        full_port(registry, "1-1") as port,
        at_most(ENOUGH_S),
        pytest.raises(KeyboardInterrupt),
        attach(port, say=press, wait_s=60),
    ):
        pytest.fail("it went on")


def test_ctrl_c_ends_the_wait_for_several_of_them(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    takes_nothing, pressed = library._takes_nothing, threading.Event()

    def noticed(error: Exception) -> bool:
        if not pressed.is_set():
            pressed.set()
            os.kill(os.getpid(), signal.SIGINT)
        return takes_nothing(error)

    monkeypatch.setattr(library, "_takes_nothing", noticed)
    with full_port(registry, "1-1"), full_port(registry, "1-2"), at_most(ENOUGH_S):
        told = CliRunner().invoke(app, ["update", "--all"])
        assert pressed.is_set()
        assert told.exit_code != 0
        assert "Ending; the nodes are let go." in told.output


def test_a_board_that_is_never_let_go_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_attached, "_LET_GO_S", 0.05)
    hung, released = Port("COM4", None, None), threading.Event()
    ending = threading.Event()

    def job(port: Port) -> bool:
        return port is not hung or released.wait(2 * ENOUGH_S)

    try:
        with at_most(ENOUGH_S):
            each = cli_attached._each([BRIDGED, hung], job, ending)
            assert next(iter(each)) == (BRIDGED, True)
            each.close()  # type: ignore[attr-defined]
            assert ending.is_set()
    finally:
        released.set()


class FullSerial:
    """pyserial's port where nothing can be written any more."""

    in_waiting = 1

    def __init__(self) -> None:
        self.write_timeout = library._STUCK_S
        self.tries: list[float] = []

    def read(self, _count: int) -> bytes:
        return b">"

    def write(self, _data: bytes) -> None:
        self.tries.append(self.write_timeout)
        raise SerialTimeoutException("Write timeout")


class Transport:
    """mpremote's."""

    def __init__(self, serial: FullSerial) -> None:
        self.serial = serial

    def exec_raw_no_follow(self, script: str) -> None:
        self.serial.write(script.encode())


def test_a_port_that_fills_up_in_the_middle_is_tried_once_more_and_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_LAST_S", 0.01)
    serial = FullSerial()
    repl: Any = Repl(BRIDGED)
    repl._transport, repl._inside = Transport(serial), True
    with pytest.raises(Trouble) as raised:
        repl.run("1")
    assert raised.value.kind == "no_repl"
    repl.restart()
    assert serial.tries == [0.05, 0.01]


def test_a_board_that_chatters_instead_of_its_prompt_does_not_answer(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OddBoard(registry, "1-1", lambda _: "1", chatters=True) as board, at_most(ENOUGH_S):
        with pytest.raises(Trouble) as raised, attach(board.port, wait_s=0):
            pytest.fail("it went on")
        assert raised.value.kind == "no_repl"
    assert capsys.readouterr().out == ""


def test_what_mpremote_would_print_does_not_get_among_the_json(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OddBoard(registry, "1-1", lambda _: "1", paste=b"??") as board, at_most(ENOUGH_S):
        with pytest.raises(Trouble) as raised, attach(board.port, wait_s=0):
            pytest.fail("it went on")
        assert raised.value.kind == "no_repl"
    assert capsys.readouterr().out == ""
