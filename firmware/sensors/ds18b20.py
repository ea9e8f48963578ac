"""DS18B20 (and DS1822, MAX31820): temperature at the end of a cable, over one wire.

Source: Maxim DS18B20 data sheet 19-7487 (rev. 6). One sensor on the line. Its 64-bit code is read first and every
command then carries it: of two sensors the codes read as one ANDed, which no sensor has, so nobody answers; a wrong
value cannot come of it. Before a measurement the alarm registers, which nobody needs here, are marked in the volatile
scratchpad: a sensor that loses its supply meanwhile forgets the mark.
"""

import struct

from micropython import const

from payload.encode import OUT_OF_RANGE
from sensors.errors import SensorError

_READ_ROM = const(0x33)
_MATCH_ROM = const(0x55)
_CONVERT = const(0x44)
_WRITE_SCRATCHPAD = const(0x4E)
_READ_SCRATCHPAD = const(0xBE)
_READ_POWER = const(0xB4)

_FAMILIES = (0x28, 0x22)  # DS18B20 and MAX31820; DS1822, the same with a wider tolerance

_MARK = b"\x5a\xa5"  # TH, TL; the factory's are 4B 46
_TWELVE_BITS = const(0x7F)
_CONVERT_MS = const(750)  # table 2
_MORE_MS = const(50)
_TRIES = const(3)

_POWER_ON = const(0x0550)  # +85 °C (figure 4)
_MEASURED = const(0x10)
_NO_SUCCESS = const(0x07FF)


def crc8(data):
    """The 1-Wire CRC, x^8 + x^5 + x^4 + 1, lowest bit first (application note 27); 0 over data and their CRC."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc


def check_code(code):
    """Raises SensorError unless the 8 bytes are the code of a sensor that this driver knows."""
    if crc8(code) or not any(code):
        raise SensorError("its code is damaged: a bad connection, or several sensors on one line")
    if code[0] not in _FAMILIES:
        raise SensorError(f"family {code[0]:#x}, expected 0x28 (DS18B20)")


def temperature(scratchpad):
    """°C from the 9 bytes of the scratchpad, or OUT_OF_RANGE. Raises SensorError.

    85.0 °C is what the register holds before the first measurement. Byte 6 of a genuine sensor is then 0x0C and after
    a measurement of 85.0 °C 0x10: early data sheets give both, later ones call it reserved. Copies leave 0x0C or what
    was written; there 85.0 °C is refused. 0x07FF is what a sensor gives whose supply broke down
    (cpetrich/counterfeit_DS18B20, README).
    """
    if crc8(scratchpad):
        raise SensorError("its data are damaged")
    if scratchpad[4] & 0x9F != 0x1F:  # figure 10; a line that is always low has a good CRC
        raise SensorError("its configuration register is no such thing")
    sixteenths = struct.unpack("<h", scratchpad[:2])[0]
    if sixteenths == _POWER_ON and scratchpad[6] != _MEASURED:
        raise SensorError("85 °C: it did not measure")
    if sixteenths == _NO_SUCCESS:
        raise SensorError("its supply broke down while it measured")
    undefined = 3 - (scratchpad[4] >> 5)  # bits, table 2
    celsius = (sixteenths >> undefined << undefined) / 16
    return celsius if -55 <= celsius <= 125 else OUT_OF_RANGE


def read(bus, entry, sleep_ms):
    """{the entry's first quantity: °C or OUT_OF_RANGE}; takes 0.8 s. Raises SensorError.

    bus: with reset(), writebyte() and readbyte() of MicroPython's `onewire.OneWire`.
    """
    code = _code(bus)
    _select(bus, code, _READ_POWER)
    if bus.readbyte() != 0xFF:
        raise SensorError("it has no supply of its own: connect its third wire")
    _select(bus, code, _WRITE_SCRATCHPAD)
    for byte in _MARK:
        bus.writebyte(byte)
    bus.writebyte(_TWELVE_BITS)
    _select(bus, code, _CONVERT)
    if bus.readbyte() == 0xFF:  # it answers 0 as long as it measures
        raise SensorError("it does not measure: a bad connection, or several sensors on one line")
    sleep_ms(_CONVERT_MS)
    for _ in range(_TRIES):
        if bus.readbyte() == 0xFF:
            break
        sleep_ms(_MORE_MS)
    else:
        raise SensorError("it does not finish")
    return {entry["quantities"][0]: temperature(_scratchpad(bus, code))}


def _code(bus):
    code = b""
    for _ in range(_TRIES):
        _reset(bus)
        bus.writebyte(_READ_ROM)
        code = _bytes(bus, 8)
        if not crc8(code):
            break
    check_code(code)
    return code


def _scratchpad(bus, code):
    """The scratchpad; raises SensorError when it is not that of the measurement begun here."""
    for _ in range(_TRIES):
        _select(bus, code, _READ_SCRATCHPAD)
        scratchpad = _bytes(bus, 9)
        if not crc8(scratchpad):
            if scratchpad[2:5] != _MARK + bytes((_TWELVE_BITS,)):
                raise SensorError("it lost its supply while it measured")
            return scratchpad
    raise SensorError("its data are damaged")


def _reset(bus):
    if not bus.reset():
        raise SensorError("nothing answers on its line")


def _select(bus, code, what):
    _reset(bus)
    bus.writebyte(_MATCH_ROM)
    for byte in code:
        bus.writebyte(byte)
    bus.writebyte(what)


def _bytes(bus, count):
    return bytes(bus.readbyte() for _ in range(count))
