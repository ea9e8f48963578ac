"""Which board is meant: with none, one and several plugged in, by port, number and name of the node."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from nest.errors import UserError
from spatz import usb
from spatz.attached.select import choose_ports
from spatz.troubles import Trouble


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer whose USB sockets have only what is put into this folder."""
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(tmp_path))
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda *_, **__: [])
    return tmp_path


def plug(sockets: Path, device: str, number: str, vid: int = 0x10C4, pid: int = 0xEA60) -> None:
    """Plug in a board."""
    port = {"device": device, "vid": vid, "pid": pid, "serial_number": number, "product": "UART", "location": ""}
    (sockets / f"{number}.port.json").write_text(json.dumps(port), encoding="utf-8")


def test_nothing_plugged_in_says_cable(sockets: Path) -> None:
    with pytest.raises(Trouble, match="cable") as raised:
        choose_ports([])
    assert raised.value.kind == "no_board"


def test_a_board_without_driver_says_which_driver(sockets: Path) -> None:
    plug(sockets, "", "a", 0x1A86, 0x55D4)
    with pytest.raises(Trouble, match="CH9102") as raised:
        choose_ports([])
    assert raised.value.kind == "no_driver"


def test_the_only_board_is_meant(sockets: Path) -> None:
    plug(sockets, "COM3", "a")
    plug(sockets, "COM9", "mouse", 0x046D, 0xC077)
    assert [port.device for port in choose_ports([])] == ["COM3"]


def test_several_boards_without_a_terminal_are_listed(sockets: Path) -> None:
    plug(sockets, "COM3", "a")
    plug(sockets, "COM4", "b")
    with pytest.raises(UserError, match=r"COM3, COM4") as raised:
        choose_ports([], ask=False)
    assert "--all" in raised.value.next_step
    assert [port.device for port in choose_ports([], all_=True)] == ["COM3", "COM4"]


@pytest.mark.parametrize(
    ("typed", "chosen"), [("2\n", ["COM4"]), ("9\n\nx\n1\n", ["COM3"]), ("all\n", ["COM3", "COM4"])]
)
def test_several_boards_are_asked_about(
    sockets: Path, monkeypatch: pytest.MonkeyPatch, typed: str, chosen: list[str]
) -> None:
    plug(sockets, "COM3", "a")
    plug(sockets, "COM4", "b")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert [port.device for port in choose_ports([], ask=True)] == chosen


def test_a_board_is_meant_by_port_number_or_name_of_its_node(sockets: Path) -> None:
    plug(sockets, "COM3", "0001A")
    plug(sockets, "COM4", "0001B")
    names = {"COM3": "amsel", "COM4": "kleiber"}
    typed = ["com4", "0001B", "kleiber"]
    assert [port.device for port in choose_ports(typed, named=lambda port: names[port.device])] == ["COM4"]
    with pytest.raises(UserError, match='"sperling"'):
        choose_ports(["sperling"], named=lambda port: names[port.device])
