"""What makers complain about, on boards that have it: each shows itself as it does on a table."""

from __future__ import annotations

import os
import time

import pytest
from esptool.util import FatalError
from spatz import usb
from spatz.sim.board.bench import VirtualBoard
from spatz.sim.board.virtual import parse_faults
from tools.sim.board.bench_help import flashed, in_boot_loader, mpremote, reads

RUNNING = "import time\nprint('runs')\nwhile True:\n    time.sleep(1)\n"


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A function that plugs in a board with that fault, flashed and running."""
    boards = []
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(tmp_path / "registry"))

    def plugged(**faults):
        flashed(tmp_path / "b", {"main.py": RUNNING}, flash_mb=4)
        board = VirtualBoard(tmp_path / "b", registry=tmp_path / "registry", flash_mb=4, faults=faults)
        boards.append(board)
        board.start()
        return board

    yield plugged
    for board in boards:
        board.stop()


def test_without_auto_reset_only_the_buttons_lead_into_the_boot_loader(faulty):
    board = faulty(no_auto_reset=True)
    board.wait_for("line", text="runs")
    with pytest.raises(FatalError, match="No serial data received"), in_boot_loader(board):
        pass
    board.do("hold_boot")
    board.do("press_reset")
    board.wait_for("rom")
    board.do("release_boot")
    with in_boot_loader(board, mode="no-reset") as esp:
        assert esp.CHIP_NAME == "ESP32-S3"
    board.wait_for("boot")


def test_one_that_stays_in_its_boot_loader_needs_its_reset_button(faulty):
    board = faulty(stays_in_boot=True)
    board.wait_for("line", text="runs")
    for _ in range(2):  # a program may come again
        with in_boot_loader(board):
            pass
        with pytest.raises(TimeoutError):
            board.wait_for("boot", within_s=0.5)
    board.do("press_reset")
    board.wait_for("line", text="runs")


def test_a_port_comes_back_under_another_name(faulty):
    board = faulty(renames_port=True)
    key, before = board.port.key, board.port.device
    board.do("press_reset")
    found = usb.find(key, 5, other_than=before)
    assert found is not None
    assert found.device == board.port.device != before


def test_a_missing_driver_a_missing_permission_and_a_missing_wire(faulty):
    board = faulty(no_driver=True)
    [port] = usb.boards_at_usb()
    assert (port.device, port.usb_id) == ("", "10c4:ea60")
    board.do("fault", no_driver=False, no_permission=True)
    board.wait_for("registered", device="/dev/pts")
    until = time.monotonic() + 5
    while not board.port.device and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(PermissionError):
        os.open(board.port.device, os.O_RDWR)
    board.do("fault", no_permission=False, charge_only=True)
    until = time.monotonic() + 5
    while usb.boards_at_usb() and time.monotonic() < until:
        time.sleep(0.01)
    assert usb.boards_at_usb() == []


def test_a_thin_cable_damages_what_is_too_fast_for_it(faulty):
    from esptool.cmds import run_stub

    board = faulty(max_baud=200_000)
    with in_boot_loader(board) as esp:
        stub = run_stub(esp)
        stub.change_baud(921_600)
        with pytest.raises(FatalError):
            stub.read_reg(0x60000000)
    with in_boot_loader(board) as esp:
        stub = run_stub(esp)
        stub.change_baud(115_200)
        assert stub.read_reg(0x60000000) == 0


def test_a_stale_boot_loader_talks_sense_when_the_port_was_closed(faulty):
    board = faulty(stale_stub=True)
    with pytest.raises(FatalError), in_boot_loader(board):
        pass
    board.wait_for("closed")
    with in_boot_loader(board) as esp:
        assert esp.CHIP_NAME == "ESP32-S3"


def test_the_wrong_micropython_starts_again_and_again(faulty):
    board = faulty(boot_loop=True)
    seen = reads(board.port.device, b"PSRAM" * 9, within_s=1.5)
    assert seen.count(b"rst:0x") >= 3


def test_a_busy_program_hears_ctrl_c_only_after_a_while(faulty):
    board = faulty(busy_repl=2)
    board.wait_for("line", text="runs")
    descriptor = os.open(board.port.device, os.O_RDWR | os.O_NOCTTY)
    for _ in range(2):
        os.write(descriptor, b"\x03")
    with pytest.raises(TimeoutError):
        board.wait_for("line", within_s=0.5, text="KeyboardInterrupt")
    os.write(descriptor, b"\x03")
    board.wait_for("line", text="KeyboardInterrupt")
    os.close(descriptor)
    assert "6" in mpremote(board, "exec", "print(2 * 3)")


def test_a_chip_that_esptool_does_not_know_yet(faulty):
    board = faulty(old_revision=True)
    with pytest.raises(FatalError, match=r"Unexpected chip ID|autodetect"), in_boot_loader(board):
        pass


def test_what_a_console_sends_at_another_speed_is_no_text(faulty):
    import serial

    board = faulty()
    board.wait_for("line", text="runs")
    with serial.Serial(board.port.device, 9600, timeout=1) as port:
        port.write(b"\x03")
        assert b"Keyboard" not in port.read(200)
    with serial.Serial(board.port.device, 115200, timeout=1) as port:
        port.write(b"\x03")
        assert b"KeyboardInterrupt" in port.read_until(b">>> ")


def test_faults_are_named_on_the_command_line():
    assert parse_faults(["no_auto_reset", "max_baud=200000"]) == {"no_auto_reset": True, "max_baud": 200_000}
    for wrong in ("no_such", "max_baud=fast"):
        with pytest.raises(Exception, match=wrong):
            parse_faults([wrong])
