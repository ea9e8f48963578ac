"""`spatz virtual` as people start it, and what is left when its parent dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from spatz import usb
from spatz.sim.board.bench import VirtualBoard
from tools.sim.board.bench_help import flashed, reads

SPATZ = [sys.executable, "-c", "from spatz.cli import main; main()"]


def _events(process, wanted, count):
    found = []
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == wanted:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError(found)


@pytest.fixture
def virtual(tmp_path):
    """A function that starts `spatz virtual` with these arguments; ended at the end."""
    started = []

    def start(*arguments):
        environment = {**os.environ, usb.VIRTUAL_BOARDS: str(tmp_path / "registry"), "LANGUAGE": "en"}
        process = subprocess.Popen(
            [*SPATZ, "virtual", "--keep", str(tmp_path / "kept"), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_boards_are_plugged_in_until_ctrl_c(virtual, tmp_path, monkeypatch):
    monkeypatch.setenv(usb.VIRTUAL_BOARDS, str(tmp_path / "registry"))
    process = virtual("--boards", "3", "--board", "heltec-v3", "--board", "t3-s3", "--json")
    _events(process, "registered", 3)
    ports = usb.boards_at_usb()
    assert sorted(port.usb_id for port in ports) == ["10c4:ea60", "10c4:ea60", "303a:1001"]
    assert len({port.key for port in ports}) == 3
    assert b"invalid header" in reads(ports[0].device, b"invalid header")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert usb.boards_at_usb() == []
    assert sum('"ended"' in line for line in out.splitlines()) == 3


def test_it_says_what_to_type(virtual):
    process = virtual("--boards", "1")
    line = process.stdout.readline()
    assert "port" in line
    assert "board-01" in process.stdout.readline()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fault", "gremlins"), "gremlins"),
        (("--board", "heltec-v33"), "heltec-v33"),
        (("--server", "127.0.0.1:1700"), "--air"),
        (("--town", "/nowhere"), "/nowhere"),
    ],
)
def test_what_cannot_be_is_said_in_plain_words(virtual, arguments, said):
    out, errors = virtual(*arguments).communicate(timeout=20)
    assert said in errors
    assert "Traceback" not in out + errors


def test_the_boards_of_a_killed_parent_are_gone(virtual, tmp_path):
    process = virtual("--boards", "2", "--json")
    _events(process, "registered", 2)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    until = time.monotonic() + 5
    while list((tmp_path / "registry").glob("*.port.json")) and time.monotonic() < until:
        time.sleep(0.05)
    assert not list((tmp_path / "registry").glob("*.port.json"))


def test_micropython_ends_with_its_board(tmp_path):
    flashed(tmp_path / "b", {"main.py": "import time\nprint('runs')\nwhile True:\n    time.sleep(1)\n"})
    with VirtualBoard(tmp_path / "b", registry=tmp_path / "registry") as board:
        board.wait_for("line", text="runs")
        [process] = [child for child in psutil.Process().children() if str(tmp_path / "b") in child.cmdline()]
        children = process.children(recursive=True)
        assert children
        board.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_a_throttled_line_takes_its_time(tmp_path):
    from esptool.cmds import attach_flash, detect_chip, run_stub, write_flash

    with VirtualBoard(tmp_path / "b", registry=tmp_path / "registry", baud_limit_bytes_per_s=60_000) as board:
        with detect_chip(board.port.device) as esp:
            stub = run_stub(esp)
            attach_flash(stub)
            data = os.urandom(60_000)
            begun = time.monotonic()
            write_flash(stub, [(0x10000, data)], flash_size="keep")
            took = time.monotonic() - begun
        assert board.flash()[0x10000 : 0x10000 + len(data)] == data
    assert 0.9 < took < 6
