"""Sensirion SHT30, SHT31, SHT35 (and SHT85): temperature and humidity over I2C, measured on demand.

Source: Datasheet SHT3x-DIS, version 5 (May 2018): 4.3 single shot, 4.8 break, 4.10 heater, 4.11 status, 4.13
conversion; table 4 for the times. On demand it idles at 0.2 µA; in its periodic mode at 45 µA.

It shares the addresses 0x44 and 0x45 with the SHT4x, to which the first byte of "measure", 0x24, says "heat with
110 mW". So nothing is measured before the status register, which an SHT4x does not have, came with a right checksum.
"""

from micropython import const

from sensors.errors import SensorError
from sensors.sensirion import air, ask, identity, send, words

_STATUS = const(0xF32D)
_BREAK = const(0x3093)
_HEATER_OFF = const(0x3066)
_MEASURE = const(0x2400)  # high repeatability, without clock stretching
_MEASURE_MS = const(17)  # 15.5 ms at most
_HEATER = const(0x2000)  # status bit 13
_ZEROS = const(0x500C)  # status bits that are reserved and read as 0


def reading(data):
    """{"temperature": °C, "humidity": %} in the 6 bytes of a measurement. Raises SensorError for a wrong checksum."""
    t, h = words(data)
    return air(t, 0, 100, h, -40, 125)


def read(bus, entry, sleep_ms):
    """Measure once. entry: "address" (0x44 or 0x45). Raises SensorError, and OSError when nothing answers."""
    address = entry["address"]
    (status,) = ask(bus, address, _STATUS, 1, 1, sleep_ms)
    if status & _ZEROS:
        raise SensorError(f"status {status:#x}: it is no SHT3x")
    send(bus, address, _BREAK)  # a periodic measurement that somebody started would refuse ours
    sleep_ms(2)
    if status & _HEATER:
        send(bus, address, _HEATER_OFF)
        sleep_ms(2)
    send(bus, address, _MEASURE)
    sleep_ms(_MEASURE_MS)
    return reading(bus.readfrom(address, 6))


def probe(bus, address):
    """Whether an SHT3x answers there. To an SHT4x the command is an unknown one, to register chips a pointer."""
    found = identity(bus, address, b"\xf3\x2d", 1)
    return found is not None and not found[0] & _ZEROS
