"""A node at its prompt: it is always let go again, whatever becomes of the cable, the person or the program."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serial import serial_for_url
from spatz import usb
from spatz.attached import repl as library
from spatz.attached import shell, signals
from spatz.attached.repl import NodeError, Repl, attach
from spatz.troubles import Trouble
from spatz.usb import Port
from tools.attached.flashed import board_with, good_files

NATIVE = Port("COM7", 0x303A, 0x4001, "f412fa112233aaaa")
BRIDGED = Port("COM3", 0x10C4, 0xEA60, "0001A")


class Serial:
    """A port. said: what comes out of it; gone: the chip sleeps, and its USB with it."""

    def __init__(self, said: Callable[[], bytes] = bytes, *, gone: bool = False) -> None:
        self._said = said
        self._gone = gone
        self.written = b""
        self.lines: list[tuple[str, bool]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("dtr", "rts"):
            self.lines.append((name, value))
        super().__setattr__(name, value)

    @property
    def in_waiting(self) -> int:
        if self._gone:
            raise OSError(5, "EIO")
        return len(self._said())

    def read(self, count: int) -> bytes:
        return self._said()[:count]

    def write(self, data: bytes) -> None:
        if self._gone:
            raise OSError(5, "EIO")
        self.written += data


class Transport:
    """mpremote's."""

    def __init__(self, serial: Serial) -> None:
        self.serial = serial

    def exec_raw_no_follow(self, script: str) -> None:
        self.serial.write(script.encode())

    def close(self) -> None:
        pass


def at(port: Port, serial: Serial, **more: Any) -> Repl:
    repl = Repl(port, **more)
    repl._transport = Transport(serial)
    return repl


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is plugged in, and nobody has patience."""
    for name in ("_PATIENCE_S", "_CHATTER_S", "_TRY_S"):
        monkeypatch.setattr(library, name, 0.05)
    monkeypatch.setattr(usb, "list_ports", list)


@pytest.mark.usefixtures("hasty")
def test_a_chip_with_its_own_usb_that_falls_asleep_meanwhile_does_not_answer() -> None:
    repl, said = at(NATIVE, Serial(gone=True)), []
    with pytest.raises(Trouble) as raised, repl.explained():
        repl.enter(said.append, 0.1)
    assert raised.value.kind == "no_repl"
    assert "RST" in said[0]
    assert at(NATIVE, Serial(gone=True)).first_lines(0.1) == []


@pytest.mark.usefixtures("hasty")
def test_a_board_that_prints_for_ever_is_not_waited_for_for_ever() -> None:
    with pytest.raises(Trouble):
        at(BRIDGED, Serial(lambda: b"x")).run("1", within_s=0.05)
    banner = list(library._BANNER * 2 + b"x" * 100_000)
    chatter = Serial(lambda: bytes((banner.pop(0),)))
    assert at(BRIDGED, chatter)._interrupt() is not None


def test_after_a_reset_by_the_cable_the_lines_are_as_when_it_was_opened() -> None:
    serial = Serial()
    assert at(BRIDGED, serial)._press_reset()
    assert serial.lines == [("dtr", False), ("rts", True), ("rts", False), ("dtr", True), ("rts", True)]
    for repl in (at(NATIVE, serial := Serial()), at(BRIDGED, serial, may_reset=False)):
        assert not repl._press_reset()
        assert serial.lines == []


@pytest.mark.parametrize(
    ("printed", "kind"),
    [("OSError: 28", "board_full"), ("OSError: [Errno 28] ENOSPC", "board_full"), ("OSError: 284", None)],
)
def test_no_room_is_said_in_both_of_micropythons_ways(
    printed: str, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Repl, "_answer", lambda *_: ("", f"Traceback:\n  File 1\n{printed}\r\n"))
    with pytest.raises((Trouble, NodeError)) as raised:
        at(BRIDGED, Serial()).run("1")
    assert getattr(raised.value, "kind", None) == kind


def test_a_program_that_is_ended_lets_its_node_go_first() -> None:
    before = {name: signal.getsignal(getattr(signal, name)) for name in ("SIGTERM", "SIGINT")}
    with signals.as_interrupt():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a second one changes nothing
        with signals.put_off():
            signal.raise_signal(signal.SIGINT)
    assert before == {name: signal.getsignal(getattr(signal, name)) for name in before}


def test_a_node_that_was_interrupted_runs_again(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Repl.heard

    def given_up(self: Repl, for_s: float, until: bytes = b"") -> bytes:
        monkeypatch.setattr(Repl, "heard", heard)
        heard(self, for_s, until)
        raise KeyboardInterrupt

    with board_with(tmp_path / "board", registry, good_files()) as board:
        board.wait_for("line", text="Funkspatz node amsel")
        monkeypatch.setattr(Repl, "heard", given_up)
        with pytest.raises(KeyboardInterrupt), attach(board.port):
            pytest.fail("it went on")
        board.wait_for("line", text="Stopped by Ctrl-C")
        board.wait_for("line", text="Funkspatz node amsel")
        with serial_for_url(board.port.device, 115_200) as port:  # as a person leaves it: spatz shell, Ctrl-C, Ctrl-]
            port.write(b"\x03")
            board.wait_for("line", text="Stopped by Ctrl-C")
        assert "starts again" in shell.left(board.port)
        board.wait_for("line", text="Funkspatz node amsel")
