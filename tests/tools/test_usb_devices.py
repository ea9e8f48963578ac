"""A board whose driver is missing has no port: it is seen all the same, and nothing else is taken for one."""

from __future__ import annotations

import json
import plistlib
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from spatz import usb, usb_devices
from spatz.attached.select import choose_ports
from spatz.boards import list_boards
from spatz.cli_doctor import run
from spatz.troubles import Trouble
from spatz.usb import Port
from spatz.usb_devices import Device, read_linux, understand_macos, understand_windows, without_port

CP2102 = (0x10C4, 0xEA60)
CH340 = (0x1A86, 0x7523)
CH9102 = (0x1A86, 0x55D4)


def test_every_usb_id_of_the_catalogue_is_known_and_has_a_driver_or_needs_none() -> None:
    ids = {tuple(int(part, 16) for part in usb_id.split(":")) for board in list_boards() for usb_id in board.usb.ids}
    assert ids <= set(usb.BRIDGES)
    assert all(bridge.native != bool(bridge.driver) for bridge in usb.BRIDGES.values())


@pytest.mark.parametrize(("system", "works"), [("win32", True), ("darwin", False), ("linux", False)])
def test_a_program_for_windows_is_for_windows(system: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    bridges = runpy.run_path(usb.__file__)["BRIDGES"]
    assert any("_EXE" in bridge.driver for bridge in bridges.values()) == works
    assert all(bridge.native != bridge.driver.startswith("https://") for bridge in bridges.values())


# --- Linux ------------------------------------------------------------------------------------------------------------


def plug(root: Path, name: str, ids: tuple[int, int], serial: str = "", **interface: str) -> None:
    """A device in /sys. interface: what its only interface has: driver="cp210x", tty="ttyUSB0"."""
    folder = root / name
    (folder / f"{name}:1.0").mkdir(parents=True)
    for file, number in zip(("idVendor", "idProduct"), ids, strict=True):
        (folder / file).write_text(f"{number:04x}\n", encoding="utf-8")
    if serial:
        (folder / "serial").write_text(f"{serial}\n", encoding="utf-8")
    for part in interface.values():
        (folder / f"{name}:1.0" / part).mkdir(parents=True)
    if driver := interface.get("driver"):
        (folder / f"{name}:1.0" / "driver").symlink_to(folder / f"{name}:1.0" / driver)


def test_linux_says_who_has_no_driver(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", CP2102, "5678ABCD")
    plug(tmp_path, "1-2.4", CH340)
    plug(tmp_path, "1-3", CP2102, driver="cp210x", tty="ttyUSB0")
    plug(tmp_path, "2-1", CH9102, tty="tty/ttyACM0")
    plug(tmp_path, "2-2", CH340, driver="usbfs")  # another program has it
    plug(tmp_path, "2-3", CH340)
    (tmp_path / "2-3" / "2-3:1.0").rmdir()  # it is being recognised
    (tmp_path / "2-4").mkdir()  # it is being pulled out
    (tmp_path / "1-0:1.0").mkdir()
    (tmp_path / "usb1").mkdir()
    assert read_linux(tmp_path) == [Device(*CP2102, "5678ABCD", "1-1"), Device(*CH340, None, "1-2.4")]


def test_linux_without_sys_says_nothing(tmp_path: Path) -> None:
    assert read_linux(tmp_path / "sys") == []


# --- Windows ----------------------------------------------------------------------------------------------------------


def rows(*said: tuple[str, int] | tuple[str, int, bool]) -> bytes:
    names = ("DeviceID", "ConfigManagerErrorCode", "Present")
    listed = [dict(zip(names, (*row, True)[:3], strict=True)) for row in said]
    return json.dumps(listed if len(listed) != 1 else listed[0]).encode() + b"\r\n"  # one is no list


UNKNOWN = r"ACPI\PNP0A0A\0"
NO_IDS = r"USB\VID_0000&PID_0002\5&2"
A, B, C = (rf"USB\VID_10C4&PID_EA60\{number}" for number in "ABC")
WHOLE = r"USB\VID_1A86&PID_55D4\5A5B"
PARTS = (r"USB\VID_1A86&PID_55D4&MI_00\7&1A2B&0&0000", r"USB\VID_1A86&PID_55D4&MI_02\7&1A2B&0&0002")
OLD = b'{"DeviceID":"USB\\\\VID_10C4&PID_EA60\\\\A","ConfigManagerErrorCode":28,"Present":null}'  # before Windows 10


@pytest.mark.parametrize(
    ("said", "devices"),
    [
        (b"", []),
        (b"\xef\xbb\xbf\r\n", []),
        (OLD, [Device(*CP2102, "A")]),
        (rows((A, 28)), [Device(*CP2102, "A")]),
        (rows((A, 28), (B, 10)), [Device(*CP2102, "A"), Device(*CP2102, "B")]),
        (rows((A, 22), (B, 45), (C, 28, False)), []),
        (rows((UNKNOWN, 28), (r"USB\ROOT_HUB30\4&1A2B", 28), (NO_IDS, 43)), []),
        (rows((r"usb\vid_1a86&pid_7523\6&1F2E3D4C&0&2", 28)), [Device(*CH340)]),
        (rows((PARTS[0], 28)), [Device(*CH9102)]),
        (rows((PARTS[0], 28), (PARTS[1], 28)), [Device(*CH9102)]),
        (rows((WHOLE, 28), (PARTS[0], 28)), [Device(*CH9102, "5A5B")]),
        (rows((r"FTDIBUS\VID_0403+PID_6001+A50285BIA\0000", 28)), [Device(0x0403, 0x6001, "A50285BIA")]),
    ],
)
def test_windows_says_of_whom_a_driver_misses(said: bytes, devices: list[Device]) -> None:
    assert understand_windows(said) == devices


# --- macOS ------------------------------------------------------------------------------------------------------------


def tree(*devices: dict[str, Any]) -> bytes:
    hub = {"idVendor": 0x05E3, "idProduct": 0x0608, "locationID": 0x14100000, "IORegistryEntryChildren": list(devices)}
    bus = {"IORegistryEntryName": "AppleT8103USBXHCI", "locationID": 0x14000000, "IORegistryEntryChildren": [hub]}
    return plistlib.dumps({"IORegistryEntryName": "Root", "IORegistryEntryChildren": [bus]})


BOARD = {"idVendor": 0x10C4, "idProduct": 0xEA60, "USB Serial Number": "0001", "locationID": 0x14120000}
NAMELESS = {"idVendor": 0x1A86, "idProduct": 0x7523, "locationID": 0x14130000}


def test_macos_says_who_is_there() -> None:
    assert understand_macos(tree(BOARD, NAMELESS)) == [
        Device(0x05E3, 0x0608, None, "20-1"),
        Device(*CP2102, "0001", "20-1.2"),
        Device(*CH340, None, "20-1.3"),
    ]
    assert understand_macos(b"") == []


# --- all of them ------------------------------------------------------------------------------------------------------


class Computer:
    """One of any system, without virtual boards: what its commands say, which ports it has, and what it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.said = b""
        self.ports: list[Port] = []
        self.asked: list[tuple[list[str], dict[str, Any]]] = []
        self.comes: list[Port] = []  # while it is waited for
        self._patch = patch
        patch.delenv(usb.VIRTUAL_BOARDS, raising=False)
        patch.setattr("serial.tools.list_ports.comports", lambda *_, **__: self.ports)
        patch.setattr(usb, "time", SimpleNamespace(sleep=self._sleep))
        patch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    def runs(self, system: str) -> None:
        self._patch.setattr(sys, "platform", system)
        self._patch.setattr(usb_devices.subprocess, "run", self._run)

    def _run(self, asked: list[str], **how: Any) -> SimpleNamespace:
        self.asked.append((list(asked), how))
        return SimpleNamespace(stdout=self.said)

    def _sleep(self, _: float) -> None:
        self.ports = [*self.ports, *self.comes]


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Computer:
    return Computer(monkeypatch)


WINDOWS = rows((r"USB\VID_1A86&PID_7523\6&1F2E3D4C&0&2", 28))
SYSTEMS = {"win32": WINDOWS, "darwin": tree(NAMELESS)}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("typed", [[], ["COM3"]])
def test_a_board_without_a_driver_is_said_to_have_none(computer: Computer, system: str, typed: list[str]) -> None:
    computer.runs(system)
    computer.said = SYSTEMS[system]
    with pytest.raises(Trouble, match="CH340") as raised:
        choose_ports(typed)
    assert raised.value.kind == "no_driver"
    assert "https://www.wch-ic.com/" in raised.value.next_step


def test_linux_is_asked_where_it_knows_them(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_linux, "__defaults__", (tmp_path,))
    monkeypatch.setattr(sys, "platform", "linux")
    plug(tmp_path, "1-1", CP2102, "5678ABCD")
    assert usb.without_driver() == [Port("", *CP2102, "5678ABCD", location="1-1")]


def test_the_doctor_says_so(computer: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    computer.runs("win32")
    computer.said = WINDOWS
    with pytest.raises(typer.Exit):
        run(None, None, as_json=True)
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["check"], check["state"]) == ("usb", "wrong")
    assert "CH340" in check["detail"]


def test_nobody_is_asked_who_has_a_board(computer: Computer) -> None:
    computer.runs("win32")
    computer.said = WINDOWS
    computer.ports = [Port("COM3", *CP2102, "0001")]
    assert [port.device for port in choose_ports([])] == ["COM3"]
    usb.boards_at_usb()
    usb.find("serial none", 0, now=lambda: 1.0)
    assert computer.asked == []


def test_virtual_boards_do_not_mix_with_the_real_ones(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.runs("win32")
    computer.said = WINDOWS
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(tmp_path))
    with pytest.raises(Trouble) as raised:
        choose_ports([])
    assert raised.value.kind == "no_board"
    assert computer.asked == []


def test_a_device_that_is_just_being_recognised_is_not_meant(computer: Computer) -> None:
    computer.runs("darwin")
    computer.said = tree(NAMELESS, BOARD)
    computer.comes = [Port("/dev/cu.wchusbserial130", *CH340, location="20-1.3")]
    assert usb.without_driver() == [Port("", *CP2102, "0001", location="20-1.2")]


def test_a_chip_with_usb_of_its_own_and_other_devices_are_not_meant(computer: Computer) -> None:
    computer.runs("win32")
    computer.said = rows((r"USB\VID_303A&PID_1001&MI_02\7&1A2B&0&0002", 28), (r"USB\VID_046D&PID_C077\1", 28))
    assert usb.without_driver() == []


@pytest.mark.parametrize(
    ("port", "same"),
    [
        (Port("/dev/cu.x", *CP2102, "0001", location="20-1.2"), True),
        (Port("/dev/cu.x", *CP2102, "0001", location="20-1.2:1.0"), True),
        (Port("/dev/cu.x", *CP2102, "0001", location="20-1.4"), False),
        (Port("/dev/cu.x", *CP2102, "0001"), True),
        (Port("/dev/cu.x", *CP2102, "0002"), False),
        (Port("/dev/cu.x", *CP2102), True),
        (Port("/dev/cu.x", *CH340, "0001", location="20-1.2"), False),
    ],
)
def test_no_device_is_there_twice(computer: Computer, port: Port, same: bool) -> None:
    computer.runs("darwin")
    computer.said = tree(BOARD, BOARD)
    assert [device for device in without_port([port]) if (device.vid, device.pid) == CP2102] == (
        [] if same else [Device(*CP2102, "0001", "20-1.2")]
    )


@pytest.mark.parametrize("system", [*SYSTEMS, "cygwin"])
@pytest.mark.parametrize(
    "said", [b"?", b"[1]", b'{"DeviceID": 3}', b"null", b"<plist><array>", b"\xff\xfe", b"[" * 9999]
)
def test_odd_words_are_no_devices(computer: Computer, system: str, said: bytes) -> None:
    computer.runs(system)
    computer.said = said
    assert usb.without_driver() == []


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), subprocess.TimeoutExpired("ioreg", 5)])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_command_that_fails_says_nothing(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, system: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    computer.runs(system)
    monkeypatch.setattr(usb_devices.subprocess, "run", fail)
    assert without_port([]) == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_command_is_the_systems_own_has_little_time_and_no_window(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    computer.runs(system)
    without_port([])
    ((asked, how),) = computer.asked
    assert asked[0].startswith(("/usr/sbin/", "C:\\Windows"))
    assert (how["timeout"], how["stdin"]) == (5, subprocess.DEVNULL)
    assert how["creationflags"] == (0x08000000 if system == "win32" else 0)
