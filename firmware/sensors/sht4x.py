"""Sensirion SHT40, SHT41, SHT43, SHT45: temperature and humidity over I2C, measured on demand.

Source: Datasheet SHT4x, version 6.x (4.5 commands, 4.6 conversion, 4.7 serial number; 3.1 times). It sleeps by itself.
Six of its commands heat (0x15, 0x1E, 0x24, 0x2F, 0x32, 0x39); this driver knows none of them.
"""

from micropython import const

from sensors.sensirion import air, identity, words

_MEASURE = b"\xfd"  # high precision, no heater
_MEASURE_MS = const(10)  # 8.3 ms at most
_SERIAL = b"\x89"


def reading(data):
    """{"temperature": °C, "humidity": %} in the 6 bytes of a measurement. Raises SensorError for a wrong checksum."""
    t, h = words(data)
    return air(t, -6, 125, h, -40, 125)


def read(bus, entry, sleep_ms):
    """Measure once. entry: "address" (0x44, 0x45 or 0x46). Raises SensorError, and OSError when nothing answers."""
    address = entry["address"]
    bus.writeto(address, _MEASURE)
    sleep_ms(_MEASURE_MS)
    return reading(bus.readfrom(address, 6))


def probe(bus, address):
    """Whether an SHT4x answers there, by its serial number. To an SHT3x a single byte is no command at all."""
    found = identity(bus, address, _SERIAL, 2)
    return found is not None and found != [0, 0]
