# ruff: noqa: B023, PT017, RUF059 - no pytest here; every check makes a board and takes of it what it needs
"""The sensors on serial lines on the virtual board: drivers, strict chips, and that the reading is the weather."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import time

import esp32
import machine
from board import Board
from expect import equal, raises
from fault import SimFault
from node import measure
from node.hardware import Hardware
from node_fakes import config
from payload.encode import FAILED, OUT_OF_RANGE
from radio.clock import Clock
from sensors import a02yyuw, ds18b20, pms5003, sds011
from sensors.errors import SensorError

VECTORS = "sensors_serial.json"
ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)
TX, RX, WIRE = 4, 5, 6


def _uart(chip, **spec):
    """(board, chip, UART) with the supply on for a second."""
    spec.update({"chip": chip, "uart": 1, "tx": TX, "rx": RX})
    b = Board({"chips": {"vext": {"pin": 36, "on": 0}, "sensors": [spec]}})
    _supply(True)
    uart = machine.UART(1, baudrate=9600, tx=machine.Pin(TX), rx=machine.Pin(RX), rxbuf=512)
    return b, b.sensors[0][1], uart


def _wires(**spec):
    spec.update({"chip": "ds18b20", "onewire": WIRE})
    b = Board({"chips": {"vext": {"pin": 36, "on": 0}, "sensors": [spec]}})
    _supply(True)
    import onewire

    return b, b.sensors[0][1], onewire.OneWire(machine.Pin(WIRE))


def _supply(on):
    machine.Pin(36, machine.Pin.OUT, value=0 if on else 1)
    time.sleep_ms(1000)


def _weather(b, quantity):
    return b.weather().value(quantity, b.unix_now())


def _near(got, b, quantity, resolution):
    want = _weather(b, quantity)
    assert not isinstance(got[quantity], str), got
    assert abs(got[quantity] - want) <= resolution, f"{quantity}: got {got[quantity]}, weather {want}"


def _faults(call, *words):
    try:
        call()
    except SimFault as fault:
        for word in words:
            assert word in str(fault), str(fault)
        return
    raise AssertionError("no SimFault")


def check_sds011_gives_the_weather():
    for spec in ({}, {"query_mode": True}, {"zeros": 2}):
        b, chip, uart = _uart("sds011", **spec)
        for _ in range(2):
            sds011.start(uart, {}, time.sleep_ms)
            time.sleep_ms(30000)
            got = sds011.read(uart, {}, time.sleep_ms)
            _near(got, b, "pm2_5", 0.1)
            _near(got, b, "pm10", 0.1)
            sds011.stop(uart, {}, time.sleep_ms)
            equal(chip.working_since, None, "asleep")
            time.sleep_ms(600000)
        equal(chip.flash_writes, 0 if "query_mode" in spec else 1, "mode is set once")


def check_sds011_forgets_sleep_and_keeps_its_mode():
    b, chip, uart = _uart("sds011")
    sds011.start(uart, {}, time.sleep_ms)
    sds011.stop(uart, {}, time.sleep_ms)
    raises(SensorError, sds011.read, uart, {}, time.sleep_ms)  # silent
    _supply(False)
    raises(SensorError, sds011.start, uart, {}, time.sleep_ms)
    _supply(True)
    assert chip.working_since is not None, "awake after a power cut"
    equal(chip.settings, {2: 1, 8: 0})


def check_sds011_drifts_while_it_warms_up():
    b, chip, uart = _uart("sds011")
    sds011.start(uart, {}, time.sleep_ms)
    got = sds011.read(uart, {}, time.sleep_ms)
    want = _weather(b, "pm10")
    assert got["pm10"] < 0.7 * want, (got, want)


def check_sds011_is_strict():
    b, chip, uart = _uart("sds011")
    _faults(lambda: (uart.write(sds011.command(7)), time.sleep_ms(50)), "SDS011", "unknown")
    b, chip, uart = _uart("sds011")
    _faults(lambda: (uart.write(b"\x01"), time.sleep_ms(50)), "no command")
    b, chip, uart = _uart("sds011")
    broken = sds011.command(4)[:17] + b"\x03\xab"
    _faults(lambda: (uart.write(broken), time.sleep_ms(50)), "sum")
    b, chip, uart = _uart("sds011")
    _faults(lambda: [(uart.write(sds011.command(4)), time.sleep_ms(2000)) for _ in range(2)], "3 s")


def check_pms5003_gives_the_weather():
    b, chip, uart = _uart("pms5003")
    for _ in range(2):
        pms5003.start(uart, {}, time.sleep_ms)
        time.sleep_ms(30000)
        got = pms5003.read(uart, {}, time.sleep_ms)
        _near(got, b, "pm2_5", 1)
        _near(got, b, "pm10", 1)
        pms5003.stop(uart, {}, time.sleep_ms)
        equal(chip.working_since, None, "asleep")
        time.sleep_ms(600000)
    equal(chip.empty, 0, "the empty frames after sleep were seen and refused")


def check_pms5003_forgets_its_mode():
    b, chip, uart = _uart("pms5003")
    pms5003.start(uart, {}, time.sleep_ms)
    pms5003.read(uart, {}, time.sleep_ms)
    equal(chip.active, False)
    pms5003.stop(uart, {}, time.sleep_ms)
    while uart.read(256):
        pass
    time.sleep_ms(10000)
    equal(uart.any(), 0, "asleep: silent")
    _supply(False)
    equal(uart.any(), 0)
    _supply(True)
    time.sleep_ms(5000)
    equal(chip.active, True)
    assert uart.any(), "it reports by itself"


def check_pms5003_is_strict():
    for data, word in ((b"\x42\x4d\xe3\x00\x00\x01\x72", "unknown"), (b"\x42\x4d\xe1\x00\x00\x01\x71", "sum")):
        b, chip, uart = _uart("pms5003")
        _faults(lambda data=data: (uart.write(data), time.sleep_ms(50)), "PMS5003", word)
    b, chip, uart = _uart("pms5003")
    _faults(lambda: (uart.write(pms5003.command(0xE2)), time.sleep_ms(50)), "active")


def check_a02yyuw_gives_the_weather():
    b, chip, uart = _uart("a02yyuw", zero_cm=400)
    for _ in range(3):
        got = a02yyuw.read(uart, {"zero_cm": 400}, time.sleep_ms)
        _near(got, b, "water_level", 0.1)
        time.sleep_ms(3600000)


def check_a02yyuw_blind_zone_and_supply():
    b, chip, uart = _uart("a02yyuw", zero_cm=0)
    near = _weather(b, "water_level")
    chip.spec["zero_cm"] = near + 2
    equal(a02yyuw.read(uart, {"zero_cm": near + 2}, time.sleep_ms), {"water_level": OUT_OF_RANGE})
    _supply(False)
    raises(SensorError, a02yyuw.read, uart, {"zero_cm": 400}, time.sleep_ms)
    _supply(True)
    _faults(lambda: (uart.write(b"\x01"), time.sleep_ms(50)), "A02YYUW", "RX")


def check_ds18b20_gives_the_weather():
    for quantity in ("soil_temperature", "temperature"):
        for spec in ({}, {"copy": True}):
            b, chip, wire = _wires(quantity=quantity, **spec)
            for _ in range(3):
                got = ds18b20.read(wire, {"quantities": [quantity]}, time.sleep_ms)
                _near(got, b, quantity, 1 / 16)
                time.sleep_ms(3600000)


def check_ds18b20_says_85_degrees_before_it_measured():
    b, chip, wire = _wires()
    wire.reset()
    for byte in b"\xcc\xbe":
        wire.writebyte(byte)
    raises(SensorError, ds18b20.temperature, bytes(wire.readbyte() for _ in range(9)))


def check_ds18b20_quirks():
    entry = {"quantities": ["soil_temperature"]}
    b, chip, wire = _wires(parasite=True)
    assert "third wire" in str(raises(SensorError, ds18b20.read, wire, entry, time.sleep_ms))
    b, chip, wire = _wires()

    def cut(ms):
        _supply(False)
        _supply(True)

    raises(SensorError, ds18b20.read, wire, entry, cut)
    _supply(False)
    assert "nothing answers" in str(raises(SensorError, ds18b20.read, wire, entry, time.sleep_ms))


def check_ds18b20_is_strict():
    for data, word in ((b"\xcc\x99", "unknown"), (b"\xf0", "ROM"), (b"\xcc\xbe\x00", "speak")):
        b, chip, wire = _wires()
        _faults(lambda data=data, wire=wire: (wire.reset(), [wire.writebyte(byte) for byte in data]), "DS18B20", word)
    b, chip, wire = _wires()
    wire.reset()
    for byte in b"\xcc\x4e\x01":
        wire.writebyte(byte)
    _faults(wire.reset, "1 of 3")


def _node():
    """(board, hardware, entries) of a node with a dust sensor, a level sensor and a thermometer in the ground."""
    serial = {"bus": "uart", "baud": 9600}
    entries = [
        {"driver": "pms5003", "quantities": ["pm2_5", "pm10"], "id": 1, "tx": 4, "rx": 5, "warm_up_ms": 30000},
        {"driver": "a02yyuw", "quantities": ["water_level"], "id": 2, "tx": 6, "rx": 7, "zero_cm": 400},
        {"driver": "ds18b20", "quantities": ["soil_temperature"], "bus": "onewire", "pin": 3},
    ]
    for entry in entries[:2]:
        entry.update(serial)
    b = Board(
        {
            "chips": {
                "vext": {"pin": 36, "on": 0},
                "sensors": [
                    {"chip": "pms5003", "uart": 1, "tx": 4, "rx": 5},
                    {"chip": "a02yyuw", "uart": 2, "tx": 6, "rx": 7, "zero_cm": 400},
                    {"chip": "ds18b20", "onewire": 3},
                ],
            }
        }
    )
    settings = config(sensors=entries, vext={"pin": 36, "on": 0, "settle_ms": 10})
    settings["radio"].update({"spi": {"id": 1, "sck": 9, "mosi": 10, "miso": 11}, "cs": 8, "reset": 12})
    settings["radio"].update({"busy": 13, "dio1": 14})
    return b, Hardware(settings, machine, esp32, time), entries


def check_a_node_measures_them_together_and_switches_them_off():
    b, hardware, entries = _node()
    clock = Clock(time, hardware.lightsleep)
    clock.stay_awake = False
    for _ in range(2):
        asleep_us = b.light_sleep_us
        got = measure.take(entries, hardware, clock=clock)
        assert b.light_sleep_us - asleep_us > 29000000, "the warm-up costs no waiting awake"
        _near(got, b, "pm2_5", 1)
        _near(got, b, "pm10", 1)
        _near(got, b, "water_level", 0.1)
        _near(got, b, "soil_temperature", 1 / 16)
        for _, chip in b.sensors:
            equal(b.vext_since(chip), None, chip.name)
        time.sleep_ms(900000)


def check_a_broken_one_costs_the_others_nothing():
    b, hardware, entries = _node()
    b.sensors[0][1].broken = True
    got = measure.take(entries, hardware)
    equal((got["pm2_5"], got["pm10"]), (FAILED, FAILED))
    _near(got, b, "water_level", 0.1)
    _near(got, b, "soil_temperature", 1 / 16)
