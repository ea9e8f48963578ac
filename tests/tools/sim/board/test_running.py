"""MicroPython on a virtual board: the real mpremote, sleep, resets and power cuts."""

from __future__ import annotations

import pytest
from spatz import usb
from spatz.sim.board.bench import Fleet, VirtualBoard
from tools.sim.board.bench_help import asleep_for, flashed, in_boot_loader, mpremote, on_flash

COUNTING = """
import machine, time
rtc = machine.RTC()
count = (rtc.memory() or b"\\0")[0] + 1
print("round", count, machine.reset_cause())
rtc.memory(bytes([count]))
"""
WAITING = COUNTING + "while True:\n    time.sleep(1)\n"


@pytest.fixture
def registry(tmp_path):
    return tmp_path / "registry"


def test_mpremote_lists_copies_runs_and_resets(tmp_path, registry):
    flashed(tmp_path / "b", {"boot.py": "print('boot')", "main.py": WAITING})
    (tmp_path / "new.py").write_text("print('new main')\n")
    with VirtualBoard(tmp_path / "b", registry=registry) as board:
        board.wait_for("line", text="round 1 1")
        assert "main.py" in mpremote(board, "fs", "ls")  # while main.py runs
        said = mpremote(board, "exec", "print('six', 2 * 3)", "+", "cp", str(tmp_path / "new.py"), ":main.py")
        assert "six 6" in said
        with on_flash(board).open("main.py") as file:
            assert file.read() == "print('new main')\n"
        mpremote(board, "soft-reset")
        mpremote(board, "reset")
        board.wait_for("line", text="rst:0xc")
        board.wait_for("line", text="new main")
        text = "".join(f"line {number}\n" for number in range(400))
        (tmp_path / "long.txt").write_text(text)
        mpremote(board, "cp", str(tmp_path / "long.txt"), ":long.txt", "+", "cp", ":long.txt", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == text


def test_what_sleep_reset_and_power_cut_leave_of_the_memory(tmp_path, registry):
    flashed(tmp_path / "b", {"main.py": COUNTING + asleep_for(1000)})
    with VirtualBoard(tmp_path / "b", registry=registry) as board:
        board.wait_for("line", text="round 1 1")
        assert 0.5 < board.wait_for("sleep")["seconds"] <= 1.0
        device = board.port.device
        board.wait_for("line", text="round 2 4")
        assert board.port.device == device  # a bridge stays when the chip sleeps
        board.do("power_cut")
        board.wait_for("cut")
        board.do("power_on")
        board.wait_for("line", text="round 1 1")
        board.do("press_reset")
        board.wait_for("line", text="round 1 1")


def test_usb_in_the_chip_is_gone_while_it_sleeps(tmp_path, registry, monkeypatch):
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(registry))
    flashed(tmp_path / "b", {"main.py": COUNTING + asleep_for(1000, "t3-s3")}, flash_mb=4)
    with VirtualBoard(tmp_path / "b", registry=registry, board="t3-s3", seed=2) as board:
        key = board.port.key
        assert board.port.usb_id == "303a:4001"
        board.wait_for("sleep")
        with pytest.raises(LookupError):
            _ = board.port
        board.wait_for("registered")
        found = usb.find(key, 5)
        assert found is not None
        assert found.device == board.port.device


def test_usb_in_the_chip_is_another_device_in_the_boot_loader_and_the_same_board(tmp_path, registry, monkeypatch):
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(registry))
    flashed(tmp_path / "b", {"main.py": WAITING}, flash_mb=4)
    with VirtualBoard(tmp_path / "b", registry=registry, board="t3-s3", mac="f412fa010203") as board:
        running = board.port
        assert (running.usb_id, running.key) == ("303a:4001", "serial f412fa010203")
        with in_boot_loader(board):
            assert (board.port.usb_id, board.port.serial_number) == ("303a:1001", "F4:12:FA:01:02:03")
            assert board.port.key == running.key
        board.wait_for("registered")
        found = usb.find(running.key, 5)
        assert found is not None
        assert found.usb_id == "303a:4001"


def test_a_power_cut_while_a_file_is_written_loses_no_other_file(tmp_path, registry):
    writing = (
        "import machine\nn = 0\nwhile True:\n    n += 1\n    open('log', 'w').write(str(n) * 500)\n    print('n', n)\n"
    )
    flashed(tmp_path / "b", {"main.py": writing, "kept": "as it was"})
    with VirtualBoard(tmp_path / "b", registry=registry) as board:
        board.wait_for("line", text="n 3")
        board.do("cut_after", bytes=5000)
        board.wait_for("cut")
        with on_flash(board).open("kept") as file:
            assert file.read() == "as it was"
        board.do("power_on")
        board.wait_for("line", text="n 3")


def test_a_board_that_was_pulled_out_is_not_there_and_comes_back(tmp_path, registry):
    flashed(tmp_path / "b", {"main.py": WAITING})
    with VirtualBoard(tmp_path / "b", registry=registry, battery=True) as board:
        board.wait_for("line", text="round 1")
        board.do("unplug")
        board.do("plug")
        board.wait_for("registered")
        assert not [event for event in board.events() if event["event"] == "cut"]  # its battery kept it running
        mpremote(board, "resume", "exec", "print(1)")


def test_a_fleet_is_at_as_many_sockets_and_ends_with_its_processes(tmp_path):
    with Fleet(tmp_path, 3, boards=("heltec-v3", "t3-s3")) as fleet:
        ports = [board.port for board in fleet]
        assert len({port.device for port in ports}) == len({port.key for port in ports}) == 3
        fleet[1].kill()
        with pytest.raises(LookupError):
            _ = fleet[1].port
    assert not list(fleet.registry.glob("*"))
