"""Vishay VEML7700: illuminance over I2C, from the least sensitive setting upward, corrected where it is not linear.

Sources: VEML7700 data sheet 84286 rev. 1.7 (registers, 0.0042 lx at the most sensitive setting; earlier revisions said
0.0036, wrongly, says Vishay's change notice) and application note 84323 (resolution table, correction above 1000 lx,
wait after switching on). Words are little-endian.
"""

from micropython import const

from payload.encode import OUT_OF_RANGE
from sensors.errors import SensorError

_CONFIG = const(0x00)
_SAVING = const(0x03)
_LIGHT = const(0x04)
_ID = const(0x07)
_VEML7700 = const(0x81)  # low byte of the id register
_OFF = const(0x0001)
_FULL = const(0xFFFF)
_MOST_LX = const(140000)  # what it is made for
_LINEAR_LX = const(1000)

# (configuration, integration in ms, lx a count, take the next one when there is less light than this)
_RANGES = (
    (0x1300, 25, 2.1504, 8000),  # gain 1/8, for the sun
    (0x1000, 100, 0.5376, 500),  # gain 1/8
    (0x0000, 100, 0.0672, 0),  # gain 1, full at 4404 lx
)


def lux(raw, per_count):
    """lx of a count 0..65535, or OUT_OF_RANGE when it is full or more than the chip is made for."""
    if raw == _FULL:
        return OUT_OF_RANGE
    x = raw * per_count
    if x > _LINEAR_LX:  # application note: fitted in daylight
        x *= 1.0023 + x * (8.1488e-5 + x * (-9.3924e-9 + x * 6.0135e-13))
    return x if x <= _MOST_LX else OUT_OF_RANGE


def read(bus, entry, sleep_ms):
    """{"illuminance": lx}. entry: "address" (0x10). Raises SensorError, and OSError when nothing answers."""
    address = entry["address"]
    if _word(bus, address, _ID) & 0xFF != _VEML7700:
        raise SensorError("it is no VEML7700")
    best = OUT_OF_RANGE
    try:
        _write(bus, address, _SAVING, 0)
        for config, ms, per_count, enough in _RANGES:
            # off and on again, because a running integration would still be one of the range before
            _write(bus, address, _CONFIG, config | _OFF)
            _write(bus, address, _CONFIG, config)
            sleep_ms(5 + 2 * ms)  # 2.5 ms to start, then a whole integration, whose clock is not exact
            raw = _word(bus, address, _LIGHT)
            if not raw and _word(bus, address, _CONFIG) != config:  # a chip that starts anew says 0, too
                raise SensorError("it lost its supply while it measured")
            got = lux(raw, per_count)
            if got == OUT_OF_RANGE:
                break  # too bright for this range
            best = got
            if best >= enough:
                break
    finally:
        _write(bus, address, _CONFIG, _OFF)
    return {"illuminance": best}


def probe(bus, address):
    """Whether a VEML7700 (or its sister VEML6030) answers there, by its id register."""
    try:
        return _word(bus, address, _ID) & 0xFF == _VEML7700
    except OSError:
        return False


def _word(bus, address, register):
    data = bus.readfrom_mem(address, register, 2)
    return data[0] | data[1] << 8


def _write(bus, address, register, word):
    bus.writeto_mem(address, register, bytes([word & 0xFF, word >> 8]))
