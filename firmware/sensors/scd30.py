"""Sensirion SCD30: CO2, with temperature and humidity of the module, over I2C. It can only measure again and again.

Source: Interface Description SCD30, version 1.0 (May 2020): 1.1 boot time and waits, 1.4.1 to 1.4.9 commands, 1.5
conversion. What is set is kept without power, so everything is read first and written only when it is another.
Self-calibration wants a week of unbroken operation with fresh air every day; a node that sleeps cannot give it that, so
it is switched off. The first value after a start is 0 ppm (adafruit/Adafruit_CircuitPython_SCD30 issue 6).
"""

import struct

from micropython import const

from payload.encode import FAILED
from sensors.errors import SensorError
from sensors.sensirion import ask, checked, identity, send, words

_START = const(0x0010)  # argument: ambient pressure in hPa, 0 for "use the altitude"
_STOP = const(0x0104)
_INTERVAL = const(0x4600)
_READY = const(0x0202)
_READ = const(0x0300)
_SELF_CALIBRATION = const(0x5306)
_ALTITUDE = const(0x5102)
_VERSION = const(0xD100)

_WAIT_MS = const(4)  # more than 3 ms between a command and its answer
_WRITE_MS = const(20)  # settings go to a memory that survives; from practice, the description gives no time
_BOOT_TRIES = const(10)
_BOOT_MS = const(250)  # 2 s to boot, at most
_INTERVAL_S = const(2)
_TRIES = const(16)
_AGAIN_MS = const(500)


def reading(data):
    """{"co2": ppm, "temperature": °C, "humidity": %} in the 18 bytes of a measurement.

    CO2 of 0, which air never has, is the value before the first measurement: FAILED. Raises SensorError for a wrong
    checksum.
    """
    got = words(data)
    co2, temperature, humidity = (
        struct.unpack(">f", struct.pack(">HH", got[at], got[at + 1]))[0] for at in range(0, 6, 2)
    )
    return {
        "co2": FAILED if co2 == 0 else checked(co2, 1, 40000),
        "temperature": checked(temperature, -40, 70),
        "humidity": checked(humidity, 0, 100),
    }


def start(bus, entry, sleep_ms):
    """Begin to measure every 2 s. entry: "address" (0x61), "altitude_m" (of the node, 0 when left out)."""
    address = entry["address"]
    _booted(bus, address, sleep_ms)
    _set(bus, address, _SELF_CALIBRATION, 0, sleep_ms)
    _set(bus, address, _ALTITUDE, int(entry.get("altitude_m", 0)), sleep_ms)
    _set(bus, address, _INTERVAL, _INTERVAL_S, sleep_ms)
    send(bus, address, _START, 0)
    sleep_ms(_WRITE_MS)


def read(bus, entry, sleep_ms):
    """The newest measurement since start(). Raises SensorError when none comes."""
    address = entry["address"]
    for _ in range(_TRIES):
        if ask(bus, address, _READY, 1, _WAIT_MS, sleep_ms)[0]:
            send(bus, address, _READ)
            sleep_ms(_WAIT_MS)
            got = reading(bus.readfrom(address, 18))
            if got["co2"] != FAILED:
                return got
        sleep_ms(_AGAIN_MS)
    raise SensorError("it does not measure")


def stop(bus, entry, sleep_ms):
    """End the measuring, or it would go on by itself as soon as it has power again."""
    send(bus, entry["address"], _STOP)
    sleep_ms(_WRITE_MS)


def probe(bus, address):
    """Whether an SCD30 answers there, with its firmware version; not in the first 2 s after power-on."""
    return identity(bus, address, b"\xd1\x00", 1, _WAIT_MS) is not None


def _booted(bus, address, sleep_ms):
    for left in range(_BOOT_TRIES, 0, -1):
        try:
            return ask(bus, address, _VERSION, 1, _WAIT_MS, sleep_ms)
        except OSError:
            if left == 1:
                raise
            sleep_ms(_BOOT_MS)


def _set(bus, address, code, value, sleep_ms):
    if ask(bus, address, code, 1, _WAIT_MS, sleep_ms) != [value]:
        send(bus, address, code, value)
        sleep_ms(_WRITE_MS)
