"""What Sensirion's I2C sensors share: commands of 16 bits, and words of 16 bits that each bring their own CRC-8.

Sources: the chapters on checksum calculation of the data sheets of SHT3x (4.12), SPS30 (6.2) and SCD4x (3.12), which
agree: polynomial 0x31, start 0xFF, nothing reflected, CRC(0xBEEF) = 0x92.
"""

from micropython import const

from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError

_NOBODY = const(0x78)  # reserved for 10-bit addressing: no sensor of ours answers there
_NACKS_PER_MS = const(25)  # a transfer that nobody acknowledges takes 40 µs at the very least


def crc8(data):
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc


def words(data):
    """The words in `data`, each two bytes, the high one first, and their CRC. Raises SensorError for a wrong CRC."""
    found = []
    for at in range(0, len(data), 3):
        if len(data) < at + 3 or crc8(data[at : at + 2]) != data[at + 2]:
            raise SensorError("a checksum is wrong")
        found.append(data[at] << 8 | data[at + 1])
    return found


def packed(word):
    """A word as an argument of a command, with its CRC: 3 bytes."""
    data = bytes([word >> 8, word & 0xFF])
    return data + bytes([crc8(data)])


def send(bus, address, code, argument=None):
    """A command, with a word as its argument or without. OSError: the chip did not take it."""
    data = bytes([code >> 8, code & 0xFF])
    bus.writeto(address, data if argument is None else data + packed(argument))


def ask(bus, address, code, count, wait_ms, sleep_ms):
    """`count` words that answer a command. Raises SensorError for a wrong CRC, OSError when nothing answers."""
    send(bus, address, code)
    sleep_ms(wait_ms)
    return words(bus.readfrom(address, 3 * count))


def identity(bus, address, command, count, wait_ms=1):
    """The `count` words that answer `command` (bytes), or None: nothing is there, or something else.

    For probing, where the other chips on the bus are unknown: one write, one read.
    """
    try:
        bus.writeto(address, command)
        pause(bus, wait_ms)
        return words(bus.readfrom(address, 3 * count))
    except (OSError, SensorError):
        return None


def pause(bus, ms):
    """At least `ms`, without a clock: transfers to an address that nobody has."""
    for _ in range(ms * _NACKS_PER_MS):
        try:
            bus.writeto(_NOBODY, b"")
        except OSError:
            pass


def checked(value, low, high):
    """The value, or what stands in its place: FAILED for no number, OUT_OF_RANGE for what the sensor cannot measure."""
    if value != value:  # only "not a number" differs from itself
        return FAILED
    return value if low <= value <= high else OUT_OF_RANGE


def air(t_word, h_low, h_span, h_word, t_low, t_high):
    """{"temperature": °C, "humidity": %} of two raw words; the humidity is `h_low` at 0 and `h_span` more at 65535.

    Without a temperature that can be, the humidity, which depends on it, has failed. Humidity may overshoot the ends a
    little and is cropped to 0 and 100 (SHT4x data sheet 4.6).
    """
    temperature = checked(-45 + 175 * t_word / 65535, t_low, t_high)
    humidity = FAILED
    if temperature != OUT_OF_RANGE:
        humidity = min(max(h_low + h_span * h_word / 65535, 0), 100)
    return {"temperature": temperature, "humidity": humidity}
