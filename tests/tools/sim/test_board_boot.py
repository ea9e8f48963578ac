"""How a virtual board starts from its flash file: filesystem, boot.py, main.py, prompt; Ctrl-C; power cuts."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from spatz.images.nvs_image import read_nvs
from tools.sim.flashed import CTRL_A, CTRL_C, CTRL_D, PROMPT, VFS, Flashed

SLEEPS = "import time\nprint('up')\nwhile True:\n    time.sleep(60)\n"


def test_an_empty_flash_gets_a_filesystem_and_boot_py(tmp_path: Path) -> None:
    board = Flashed(tmp_path, None)
    with board.boot() as console:
        assert "Performing initial setup" in console.until(PROMPT)
        assert console.ask("import os; os.listdir('/')") == "['boot.py']"
        console.ask("open('kept.txt', 'w').write('x')")
    assert list(board.files()) == ["boot.py", "kept.txt"]
    with board.boot() as console:
        assert "setup" not in console.until(PROMPT)
    assert board.flash.read_bytes()[:0x1000] == b"\xff" * 0x1000, "nothing outside of the partition"


def test_the_prompt_is_that_of_a_board(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {"lib/there.py": "x = 5", "main.py": "y = 7", "node/__init__.py": "", "node/a.py": ""})
    with board.boot() as console:
        console.until(PROMPT)
        assert console.ask("import sys; sys.path") == "['', '.frozen', '/lib']"
        assert console.ask("import there; there.x + y") == "12"
        assert console.ask("sorted(globals())") == "['__name__', 'sys', 'there', 'y']"
        assert console.ask("import vfs; [place for _, place in vfs.mount()]") == "['/']"
        assert (
            console.ask("import machine, time, esp32, node.a; machine.reset_cause() == machine.PWRON_RESET") == "True"
        )
        assert console.ask("machine.unique_id().hex()") == "'021122334455'"
        assert console.ask("import os; os.statvfs('/')[0:3]") == f"(4096, 4096, {VFS[1] // 4096})"
    assert [path.name for path in board.state.iterdir() if path.name.startswith(".")] == [], "a history of the prompt"


def test_boot_py_then_main_py_in_the_same_globals(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {"boot.py": "print('boot')\nz = 1", "main.py": "print('main', z)\nw = 2"})
    with board.boot() as console:
        assert console.until(PROMPT).splitlines()[:2] == ["boot", "main 1"]
        assert console.ask("w + z") == "3"
    with board.boot("soft", no_main=True) as console:
        said = console.until(PROMPT)
        assert "boot" in said
        assert "main" not in said


@pytest.mark.parametrize("broken", ["boot.py", "main.py"])
def test_what_goes_wrong_is_printed_and_the_prompt_comes(tmp_path: Path, broken: str) -> None:
    board = Flashed(tmp_path, {"main.py": "print('main')", broken: "print('go')\n1 // 0"})
    with board.boot() as console:
        said = console.until(PROMPT).replace("\r", "").split("\nMicroPython")[0]
        assert said == (
            f'go\nTraceback (most recent call last):\n  File "{broken}", line 2, in <module>\n'
            "ZeroDivisionError: divide by zero"
        )
        assert console.ask("1 + 1") == "2"


def test_a_filesystem_that_cannot_be_read_is_said_for_ever(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {"main.py": "print('main')"})
    content = bytearray(board.flash.read_bytes())
    content[VFS[0] : VFS[0] + 0x2000] = random.Random(1).randbytes(0x2000)  # noqa: S311
    board.flash.write_bytes(content)
    with board.boot(clock="virtual") as console:
        console.until("filesystem appears to be corrupted")
        console.until("filesystem appears to be corrupted")
        console.interrupt()
        assert "main" not in console.until(PROMPT)
    assert board.flash.read_bytes() == content


# Ctrl-C


@pytest.mark.parametrize(
    "waits",
    [
        "import time; time.sleep(99)",
        "from machine import Pin, lightsleep; Pin(8, Pin.OUT, value=1, hold=True); lightsleep(99000)",
        "\n    while True: pass",
    ],
)
def test_ctrl_c_reaches_main_py(tmp_path: Path, waits: str) -> None:
    stopped = f"try:\n    print('up'); {waits}\nexcept KeyboardInterrupt:\n    print('stopped')\n"
    board = Flashed(tmp_path, {"main.py": stopped})
    with board.boot() as console:
        console.until("up")
        console.interrupt()
        assert "stopped" in console.until(PROMPT)
        console.type(b"\r")
        console.until(PROMPT)
        console.type(b"import time; time.sleep_ms(5); 'we' + 'll'\r")
        console.until("'well'")


def test_ctrl_c_before_main_py_began_counts(tmp_path: Path) -> None:
    """What was typed afterwards is still there: mpremote asks for the raw REPL at once."""
    board = Flashed(tmp_path, {"main.py": SLEEPS})
    with board.boot() as console:
        console.type(b"\r" + CTRL_C + b"\r" + CTRL_A)
        assert "KeyboardInterrupt" in console.until("raw REPL; CTRL-B to exit")
        console.type(b"print(6 * 7)" + CTRL_D)
        console.until("OK42")


def test_ctrl_c_at_the_prompt(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {})
    with board.boot() as console:
        console.until(PROMPT)
        console.type(b"import time; print('a' + 'b'); time.sleep(99)\r")
        console.until("ab")
        console.interrupt()
        console.until("KeyboardInterrupt")
        console.until(PROMPT)
        console.type(b"half a li" + CTRL_C)
        console.until(PROMPT)
        assert console.ask("7") == "7"


WRITES = """
import os, esp32
nvs = esp32.NVS("spatz")
turn = hits = 0
while hits < 12:
    try:
        print("at work")
        while True:
            turn += 1
            with open("f%d.bin" % (turn % 4), "wb") as file:
                file.write(bytes([turn & 255]) * 5000)
            nvs.set_blob("state%d" % (turn & 1), bytes([turn & 255]) * 500)
    except KeyboardInterrupt:
        hits += 1
print("done")
"""


def test_ctrl_c_in_the_middle_of_writing_harms_nothing(tmp_path: Path) -> None:
    """At any moment of it: what littlefs and NVS have begun, they end."""
    board = Flashed(tmp_path, {"main.py": WRITES})
    chance = random.Random(3)  # noqa: S311
    with board.boot(clock="virtual") as console:
        for _ in range(12):
            console.until("at work\n")
            time.sleep(chance.random() * 0.03)
            console.interrupt()
        said = console.until("done")
        assert "Error" not in said
        console.until(PROMPT)
    for name, data in board.files().items():
        if name != "main.py":
            assert set(data) <= set(data[:1]), name
    for value in read_nvs(board.nvs()).values():
        assert isinstance(value, bytes)
        assert value == value[:1] * 500


# how it ends


@pytest.mark.parametrize(
    ("program", "status", "event"),
    [
        ("import machine\nmachine.reset()", 0, "reset"),
        ("import machine\nmachine.soft_reset()", 0, "soft_reset"),
        ("raise SystemExit", 0, "soft_reset"),
        ("import machine, time\nmachine.WDT(timeout=50)\ntime.sleep(1)", 0, "wdt"),
        ("import machine\ntry:\n    machine.reset()\nexcept BaseException:\n    machine.idle()", 0, "reset"),
        ("import machine\nmachine.deepsleep(60000)", 3, "fault"),  # with a radio that is awake
    ],
)
def test_each_end_ends_the_process(tmp_path: Path, program: str, status: int, event: str) -> None:
    board = Flashed(tmp_path, {"main.py": program})
    with board.boot() as console:
        got, power, said = console.end()
        assert (got, power.get("event")) == (status, event)
        assert ">>>" not in said


@pytest.mark.parametrize("raw", [False, True])
def test_a_reset_at_the_prompt(tmp_path: Path, raw: bool) -> None:
    board = Flashed(tmp_path, {"main.py": "1 // 0"})
    with board.boot() as console:
        console.until(PROMPT)
        console.ask("import machine; machine.RTC().memory(b'kept')")
        console.type(CTRL_A + b"machine.reset()" + CTRL_D if raw else b"machine.reset()\r")
        status, power, _ = console.end()
        assert (status, power["event"]) == (0, "reset")
    with board.boot("soft") as console:
        console.until(PROMPT)
        assert console.ask("import machine; machine.RTC().memory(), machine.reset_cause()") == "(b'kept', 5)"
    with board.boot() as console:
        console.until(PROMPT)
        assert console.ask("import machine; machine.RTC().memory(), machine.reset_cause()") == "(b'', 1)"


def test_ctrl_d_ends_it_and_leaves_no_power_json(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {})
    with board.boot() as console:
        console.until(PROMPT)
        console.type(CTRL_D)
        assert console.end()[:2] == (0, {})


def test_time_goes_on_at_the_prompt(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {})
    with board.boot() as console:
        console.until(PROMPT)
        began, first = time.monotonic(), int(console.ask("import time; time.ticks_ms()"))
        time.sleep(0.5)
        console.ask("time.sleep_ms(100)")
        passed = int(console.ask("time.ticks_ms()")) - first
        assert 590 <= passed <= (time.monotonic() - began) * 1000 + 60


def test_usb_comes_and_goes(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {})
    with board.boot(usb=True) as console:
        console.until(PROMPT)
        console.ask("import machine, time")
        frames = "f = machine.mem32[0x60038024]; time.sleep_ms(5); machine.mem32[0x60038024] != f"
        assert console.ask(frames) == "True"
        (board.state / "usb.json").write_text("false")
        console.ask("time.sleep_ms(1100)")
        assert console.ask(frames) == "False"


# power cuts


def test_a_power_cut_in_the_filesystem_leaves_old_or_new(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "turn = int(open('turn').read())\n"
        "while True:\n"
        "    turn += 1\n"
        "    with open('turn.new', 'w') as file:\n"
        "        file.write('%d' % turn * 1000)\n"
        "        file.seek(0)\n"
        "        file.write('%-9d' % turn)\n"
        "    os.rename('turn.new', 'turn')\n"
    )
    board = Flashed(tmp_path, {"main.py": program.replace(".read()", ".read(9)"), "turn": "1        "})
    chance = random.Random(5)  # noqa: S311
    last = 1
    for _ in range(6):
        (board.state / "cut.json").write_text(str(chance.randrange(100_000)))
        with board.boot() as console:
            status, power, _ = console.end()
            assert (status, power.get("event")) == (9, "power_cut")
        (board.state / "cut.json").unlink()
        content = board.files()["turn"]
        assert int(content[:9]) >= last
        last = int(content[:9])
    assert last > 10


def test_a_power_cut_in_nvs_leaves_old_or_new(tmp_path: Path) -> None:
    program = (
        "import esp32\nn = esp32.NVS('spatz')\n"
        "try:\n    turn = n.get_i32('turn')\nexcept OSError:\n    turn = 0\n"
        "while True:\n    turn += 1\n    n.set_blob('state', b'%06d' % turn * 99)\n"
        "    n.set_i32('turn', turn)\n    n.commit()\n"
    )
    board = Flashed(tmp_path, {"main.py": program})
    chance = random.Random(6)  # noqa: S311
    last = 0
    for _ in range(6):
        (board.state / "cut.json").write_text(str(chance.randrange(30_000)))
        with board.boot(clock="virtual") as console:
            assert console.end()[0] == 9
        found = read_nvs(board.nvs())
        turn, state = found["spatz", "turn"], found["spatz", "state"]
        assert isinstance(turn, int)
        assert isinstance(state, bytes)
        assert state in (b"%06d" % turn * 99, b"%06d" % (turn + 1) * 99)
        assert turn >= last
        last = turn
    assert last > 20


def test_a_file_that_nobody_closes_is_whole(tmp_path: Path) -> None:
    """It is closed when garbage is collected: in the middle of anything, with no heap."""
    program = "for turn in range(600):\n    open('x%d' % (turn % 7), 'w').write(str(turn) * 40)\n"
    board = Flashed(tmp_path, {"main.py": program + "    x = bytes(9000)\nimport gc\ngc.collect()\nprint('done')"})
    with board.boot() as console:
        assert console.until(PROMPT).splitlines()[0] == "done"
    for name, data in board.files().items():
        if name != "main.py":
            turn = int(data[: len(data) // 40])
            assert data == str(turn).encode() * 40
            assert name == f"x{turn % 7}"


def test_a_cut_that_is_ordered_while_it_runs(tmp_path: Path) -> None:
    board = Flashed(tmp_path, {"main.py": "print('up')\nwhile True:\n    open('x', 'w').write('y' * 999)"})
    with board.boot() as console:
        console.until("up")
        whole = board.state / "cut.json.new"
        whole.write_text("20000")
        os.replace(whole, board.state / "cut.json")
        assert console.end()[0] == 9
