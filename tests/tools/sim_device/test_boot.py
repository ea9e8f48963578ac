"""One boot as a process: what a supervisor sees of it, in virtual time and paced with an air over TCP."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from spatz.sim.micropython import command

DEVICE = Path(__file__).parents[3] / "tools" / "spatz" / "sim" / "device"
BENCH = Path(__file__).parent

ASLEEP = """
b.cmd(0x84, 4)
b.cs.init(machine.Pin.OUT, value=1, hold=True)
machine.deepsleep(60000)
"""
START = """
import board, esp32, machine, time
from bench import Bench
"""


class Node:
    """A state_dir and what boots in it."""

    def __init__(self, path):
        self.path = path
        (path / "fs").mkdir()
        self.world = {
            "node": "amsel",
            "state_dir": str(path),
            "clock": "virtual",
            "air": None,
            "seed": 7,
            "chips": {
                "radio": {"chip": "sx1262", "spi": 1, "cs": 8, "reset": 12, "busy": 13, "dio1": 14, "tcxo_mv": 1800,
                          "antenna_gain_dbi": 2},
                "sensors": [{"chip": "bme280", "i2c": 0, "address": 118, "sda": 41, "scl": 42}],
                "battery": {"adc": 1, "ratio": 4.9, "enable_pin": 37, "enable_level": 0},
                "vext": {"pin": 36, "on": 0},
            },
            "mac_address": "a0b1c2d3e4f5",
            "boot_us": 250000,
            "usb": False,
            "weather": {"seed": 7, "offset_s": 0},
            "clock_error_ppm": 0,
            "cause": "power_on",
            "wake_at_us": None,
        }  # fmt: skip

    def start(self, program, **world):
        (self.path / "fs" / "main.py").write_text(program)
        (self.path / "power.json").unlink(missing_ok=True)
        world_file = self.path / "world.json"
        world_file.write_text(json.dumps({**self.world, "main": str(self.path / "fs" / "main.py"), **world}))
        return subprocess.Popen(
            [*command(), str(DEVICE / "run.py")],
            cwd=self.path / "fs",
            env={**os.environ, "SPATZ_WORLD": str(world_file), "MICROPYPATH": f"{DEVICE}:{BENCH}:.frozen"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def boot(self, program, **world):
        """(exit status, stdout, power.json or None)"""
        process = self.start(program, **world)
        out, _ = process.communicate(timeout=30)
        power = self.path / "power.json"
        return process.returncode, out, json.loads(power.read_text()) if power.exists() else None


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_deep_sleep_ends_the_process_and_the_next_boot_goes_on(node):
    program = START + "machine.RTC().memory(b'abc')\nb = Bench(board.current).start()" + ASLEEP
    status, out, power = node.boot(program)
    assert (status, out) == (0, "")
    assert power["event"] == "deepsleep"
    assert power["wake_at_us"] - power["at_us"] == 60_000_000
    assert (node.path / "rtc.bin").read_bytes() == b"abc"
    program = START + (
        "print(machine.reset_cause() == machine.DEEPSLEEP_RESET, machine.RTC().memory(), board.current.radio.mode,"
        " board.current.clock.now, time.time())"
    )
    wake = power["wake_at_us"]
    status, out, power = node.boot(program, cause="deepsleep", wake_at_us=wake)
    assert out.split() == ["True", "b'abc'", "sleep_warm", str(wake + 250_000), "60"]
    assert (status, power["event"]) == (0, "ended")


def test_power_on_forgets_all_but_committed_storage(node):
    (node.path / "nvs.json").write_text('{"spatz": {"dev_eui": {"blob": "0102030405060708"}}}')
    node.boot(
        START + "n = esp32.NVS('spatz')\nn.set_i32('used', 5)\nn.commit()\nn.set_i32('used', 6)\n"
        "machine.RTC().memory(b'abc')\nb = Bench(board.current).start()" + ASLEEP
    )
    assert json.loads((node.path / "nvs.json").read_text()) == {
        "spatz": {"dev_eui": {"blob": "0102030405060708"}, "used": {"i32": 5}}
    }
    _, out, _ = node.boot(
        START + "e = bytearray(8)\nn = esp32.NVS('spatz')\nn.get_blob('dev_eui', e)\n"
        "print(e[7], n.get_i32('used'), machine.RTC().memory(), board.current.radio.mode, time.time())"
    )
    assert out.split() == ["8", "5", "b''", "stdby_rc", "0"]


def test_kill_at_any_moment_leaves_whole_files(node):
    process = node.start(
        START + "n = esp32.NVS('spatz')\ni = 0\nprint('go')\nwhile True:\n    i += 1\n    n.set_i32('i', i)\n"
        "    n.set_i32('j', i)\n    n.commit()\n    machine.RTC().memory(b'x' * (i % 2000))\n"
    )
    assert process.stdout.readline() == "go\n"
    time.sleep(0.2)
    process.kill()
    process.communicate()
    stored = json.loads((node.path / "nvs.json").read_text())["spatz"]
    assert stored["i"] == stored["j"]


@pytest.mark.parametrize(
    ("program", "status", "event", "text"),
    [
        ("machine.reset()", 0, "reset", ""),
        ("machine.soft_reset()", 0, "soft_reset", ""),
        ("raise SystemExit", 0, "soft_reset", ""),
        ("w = machine.WDT(timeout=2000)\ntime.sleep(3)", 0, "wdt", ""),
        ("print('done')", 0, "ended", "done"),
        ("print(1 // 0)", 1, "crashed", "ZeroDivisionError: divide by zero"),
        ("try:\n    machine.deepsleep(5)\nexcept Exception:\n    pass", 3, "fault", "radio in mode stdby_rc"),
        ("try:\n    machine.reset()\nexcept BaseException:\n    print('on')\n    time.sleep(1)", 0, "reset", "on"),
    ],
)
def test_each_end_has_its_event(node, program, status, event, text):
    got, out, power = node.boot(START + program)
    assert (got, power["event"]) == (status, event)
    assert text in out


def test_no_world_is_said_plainly(node):
    node.boot("print('x')")
    command_line = [*command(), str(DEVICE / "run.py")]
    for world, text in (("", "must name the world.json"), (str(node.path / "none"), "is no world.json")):
        environment = {**os.environ, "SPATZ_WORLD": world, "MICROPYPATH": f"{DEVICE}:.frozen"}
        done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 3
        assert text in done.stdout


def test_chance_repeats_with_the_seed(node):
    program = "import random\nprint(random.getrandbits(30))"
    first = node.boot(program)[1]
    assert node.boot(program)[1] == first
    assert node.boot(program, seed=8)[1] != first


def test_program_sees_nothing_of_the_emulator(node):
    assert node.boot("print(sorted(globals()))")[1].strip() == "['__name__']"


def test_process_is_small(node):
    program = START + "b = Bench(board.current).start()\nb.send()\nprint('ready')\nimport utime\nutime.sleep(99)"
    process = node.start(program)
    try:
        assert process.stdout.readline() == "ready\n"
        status = Path(f"/proc/{process.pid}/status")
        if not status.exists():
            pytest.skip("no /proc on this machine")
        kilobytes = int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1])
        assert kilobytes < 20_000
    finally:
        process.kill()
        process.communicate()


# with an air


class AirEnd(threading.Thread):
    """The other end of the air link: answers hello, notes messages, answers a transmission when told to."""

    def __init__(self, greeting="welcome"):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = list(self.listener.getsockname())
        self.greeting = greeting
        self.messages = []
        self.answer = None
        self.connection: socket.socket | None = None
        self.start()

    def run(self):
        self.connection, _ = self.listener.accept()
        with contextlib.suppress(ConnectionResetError):  # of a node that was killed in the middle of a word
            self._listen()

    def _listen(self):
        assert self.connection
        for line in self.connection.makefile("r", encoding="utf-8"):
            message = json.loads(line)
            self.messages.append(message)
            if message["t"] == "hello":
                self.send({"t": self.greeting, "v": 1, "why": "no room"})
            if message["t"] == "tx" and self.answer:
                self.send(self.answer(message))

    def send(self, message):
        assert self.connection
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def of(self, kind):
        return [message for message in self.messages if message["t"] == kind]


@pytest.fixture
def air():
    end = AirEnd()
    yield end
    end.listener.close()


UPLINK_AND_WINDOW = (
    START
    + """
b = Bench(board.current).start()
b.cmd(0x08, 0xFF, 0xFF, 2, 3, 0, 0, 0, 0)  # TxDone, RxDone, Timeout on DIO1
b.register(0x08AC, 0x96)
b.tune()
b.cmd(0x8C, 0, 8, 0, 5, 1, 0)
b.polarity(0)
b.register(0x0889, b.register(0x0889) | 4)
b.cmd(0x95, 2, 2, 0, 1)
b.cmd(0x8E, 22, 4)
b.cmd(0x0E, 0, 104, 101, 108, 108, 111)
b.cmd(0x83, 0, 0, 0)
time.sleep_ms(25)
while not b.dio1.value():
    time.sleep_us(100)
end = time.ticks_us()
b.prepare(symbols=12)
b.cmd(0x80, 1)
time.sleep_us(time.ticks_diff(time.ticks_add(end, 300000 - 4000), time.ticks_us()))
b.raw(0x82, 0, 0, 0)
while not b.dio1.value():
    time.sleep_ms(1)
print(b.irq(), b.ask(4, 0x1E, 0, 0), b.chip.rx_log)
"""
)


def _downlink(tx, after_us=300_000):
    return {
        "t": "rx",
        "at": tx["at"] + tx["airtime"] + after_us,
        "airtime": 30_976,
        "freq": tx["freq"],
        "sf": 7,
        "bw": 125000,
        "iq": 1,
        "crc": 0,
        "sync": 0x3444,
        "rssi": -100,
        "snr": 2.5,
        "data": b"back".hex(),
    }


def test_uplink_and_downlink_over_tcp(node, air):
    air.answer = _downlink
    before = time.monotonic_ns() // 1000
    status, out, _ = node.boot(UPLINK_AND_WINDOW, clock="paced", air=air.address)
    after = time.monotonic_ns() // 1000
    assert out.split()[:2] == ["22", "b'back'"], out
    assert status == 0
    air.join(5)
    hello, boot, tx, end = air.messages
    assert hello == {"t": "hello", "node": "amsel", "v": 1}
    assert (boot["state"], boot["cause"], end["state"]) == ("boot", "power_on", "ended")
    assert bytes.fromhex(tx["data"]) == b"hello"
    assert (tx["sf"], tx["bw"], tx["cr"], tx["iq"], tx["crc"], tx["sync"], tx["preamble"]) == (
        7, 125000, 5, 0, 1, 0x3444, 8,
    )  # fmt: skip
    assert tx["eirp"] == 16.0
    assert before + 250_000 < tx["at"] < after


def test_empty_window_takes_its_real_time(node, air):
    start = time.monotonic()
    _, out, _ = node.boot(UPLINK_AND_WINDOW, clock="paced", air=air.address)
    assert out.startswith("512 "), out
    assert time.monotonic() - start > 0.55  # boot 250 ms and 300 ms to the window


def test_announcement_is_not_missed_by_a_busy_process(node, air):
    """The process stands still from before the announcement until after the window: node time waits for it."""
    stopped = threading.Event()

    def answer(tx):
        process.send_signal(19)  # SIGSTOP
        stopped.set()
        return _downlink(tx)

    air.answer = answer
    process = node.start(UPLINK_AND_WINDOW, clock="paced", air=air.address)
    assert stopped.wait(10)
    time.sleep(0.6)
    process.send_signal(18)
    out, _ = process.communicate(timeout=30)
    assert out.split()[:2] == ["22", "b'back'"], out


def test_downlinks_for_others_do_not_push_out_the_own(node, air):
    def answer(tx):
        for number in range(30):
            air.send({**_downlink(tx, 150_000 + number * 100), "freq": 868500000})
        air.send(_downlink(tx))
        for number in range(29):
            air.send({**_downlink(tx, 5_000_000 + number), "freq": 868500000})
        return {**_downlink(tx, 6_000_000), "freq": 868500000}

    air.answer = answer
    _, out, _ = node.boot(UPLINK_AND_WINDOW, clock="paced", air=air.address)
    assert out.split()[:2] == ["22", "b'back'"], out


def test_deep_sleep_is_told_to_the_air(node, air):
    _, _, power = node.boot(START + "b = Bench(board.current).start()" + ASLEEP, clock="paced", air=air.address)
    air.join(5)
    last = air.of("state")[-1]
    assert (last["state"], last["wake_at"], last["at"]) == ("deepsleep", power["wake_at_us"], power["at_us"])


def test_paced_time_is_the_monotonic_clock(node):
    before = time.monotonic_ns() // 1000
    _, out, _ = node.boot(START + "time.sleep_ms(300)\nprint(board.current.clock.now)", clock="paced")
    after = time.monotonic_ns() // 1000
    assert before + 550_000 < int(out) <= after


def test_wakes_at_its_moment_or_late(node):
    now = time.monotonic_ns() // 1000
    program = START + "print(board.current.clock.now)"
    for wake in (now + 700_000, now - 5_000_000):
        _, out, _ = node.boot(program, clock="paced", cause="deepsleep", wake_at_us=wake)
        assert int(out) >= max(wake, now) + 250_000
    assert int(out) < time.monotonic_ns() // 1000


def test_refused_by_the_air(node):
    air = AirEnd("refused")
    status, out, _ = node.boot("print('never')", clock="paced", air=air.address)
    assert status == 3
    assert "refused this node: no room" in out


def test_no_air_to_connect_to(node):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = list(listener.getsockname())
    status, out, _ = node.boot("print('never')", clock="paced", air=address)
    assert status == 3
    assert "no air at 127.0.0.1" in out


def test_no_process_outlives_its_air(node, air):
    process = node.start(START + "print('up')\ntime.sleep(3600)", clock="paced", air=air.address)
    assert process.stdout.readline() == "up\n"
    assert air.connection
    air.connection.shutdown(socket.SHUT_RDWR)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "the air closed the connection" in out
    assert json.loads((node.path / "power.json").read_text())["event"] == "fault"
