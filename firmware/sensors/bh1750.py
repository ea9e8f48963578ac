"""ROHM BH1750FVI: illuminance over I2C, one measurement at a time, in two ranges.

Source: ROHM technical note BH1750FVI, 2009.04 rev. B: instruction set, "Measurement mode explanation", "Adjust
measurement result for influence of optical window", "Write/Read format". As delivered the chip is full at 54612 lx, and
sun has 120000: at its shortest measurement time it reaches 121557 lx.
"""

from micropython import const

from payload.encode import OUT_OF_RANGE

_POWER_DOWN = b"\x00"
_POWER_ON = b"\x01"
_RESET = b"\x07"  # empties the data register; only while powered on
_ONCE = b"\x20"  # H-resolution, then powers down by itself
_ONCE_HALF = b"\x21"  # H-resolution mode 2: twice the counts
_FULL = const(0xFFFF)

_USUAL = const(69)  # measurement time register: as delivered, and the shortest there is
_SHORTEST = const(31)
_USUAL_MS = const(180)  # H-resolution at most, at 69; in proportion to the register
_DIM_LX = const(10000)  # below this the second, finer measurement is taken: it is full at 27306 lx


def lux(data, time=_USUAL, half=False):
    """lx in the two bytes of a measurement, or OUT_OF_RANGE when it is full. time: 31..254; half: mode 2."""
    raw = data[0] << 8 | data[1]
    if raw == _FULL:
        return OUT_OF_RANGE
    return raw / 1.2 * _USUAL / time / (2 if half else 1)


def measurement_time(time):
    """The two commands that set the measurement time register, 31..254."""
    return bytes([0x40 | time >> 5]), bytes([0x60 | time & 31])


def read(bus, entry, sleep_ms):
    """{"illuminance": lx}. entry: "address" (0x23 or 0x5C). Raises OSError when nothing answers."""
    address = entry["address"]
    bright = lux(_measure(bus, address, _ONCE, _SHORTEST, sleep_ms), _SHORTEST)
    if bright != OUT_OF_RANGE and bright < _DIM_LX:
        fine = lux(_measure(bus, address, _ONCE_HALF, _USUAL, sleep_ms), _USUAL, True)
        if fine != OUT_OF_RANGE:  # else the sun came out in between
            bright = fine
    return {"illuminance": bright}


def _measure(bus, address, command, time, sleep_ms):
    bus.writeto(address, _POWER_ON)
    for part in measurement_time(time):
        bus.writeto(address, part)
    bus.writeto(address, _RESET)  # so that an old value is never taken for a new one
    bus.writeto(address, command)
    sleep_ms(_USUAL_MS * time // _USUAL + 10)
    return bus.readfrom(address, 2)


def probe(bus, address):
    """Whether something behaves like a BH1750: it has no identity, but a data register that a reset empties.

    Register chips take the single bytes for pointers. One with zeros in two registers would pass, so ask here last.
    """
    try:
        for command in (_POWER_ON, _RESET):
            bus.writeto(address, command)
            if command == _RESET and bus.readfrom(address, 2) != b"\x00\x00":
                return False
        bus.writeto(address, _POWER_DOWN)
    except OSError:
        return False
    return True
