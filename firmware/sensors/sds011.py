"""Nova Fitness SDS011: fine dust by a laser and a fan, over a UART of 9600 baud.

Source: Laser Dust Sensor Control Protocol V1.3 (2015). The laser lives 8000 hours, so the sensor sleeps between
readings: start() wakes it, 30 s later its air stream is steady, stop() lets it sleep. Its reporting mode and working
period are kept over a power cut; they are asked for first and only written when they are others, because the sensor
keeps them in flash.
"""

from micropython import const

from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError
from sensors.serial import Line, clear

_HEAD = const(0xAA)
_TAIL = const(0xAB)
_VALUES = const(0xC0)
_ANSWER = const(0xC5)
_SIZE = const(10)  # of every frame that the sensor sends

_MODE = const(2)  # 3.1: 0 reports by itself, 1 when asked
_QUERY = const(4)  # 3.2
_WORK = const(6)  # 3.4: 0 sleep, 1 work
_PERIOD = const(8)  # 3.5: 0 all the time, n: 30 s in n minutes

_ANSWER_MS = const(1000)
_TRIES = const(3)  # of a command
_QUERIES = const(4)
_SILENT = const(2)  # so many of them without an answer, and nobody is there
_BETWEEN_MS = const(3000)  # 3.2: asked at most every 3 s
_END = const(9999)  # 999.9 µg/m³: the end of its range (specification V1.3, technical parameters)


def command(what, write=0, value=0):
    """The 19 bytes of a command to whichever sensor is on the line (device ID 0xFFFF)."""
    body = bytes((what, write, value)) + bytes(10) + b"\xff\xff"
    return b"\xaa\xb4" + body + bytes((sum(body) & 0xFF, _TAIL))


def frame(data, at):
    """For serial.find: 10 when a frame with the right sum stands at data[at]."""
    if data[at] != _HEAD:
        return 0
    if at + 1 < len(data) and data[at + 1] not in (_VALUES, _ANSWER):
        return 0
    if len(data) < at + _SIZE:
        return -1
    if data[at + 9] != _TAIL or sum(data[at + 2 : at + 8]) & 0xFF != data[at + 8]:
        return 0
    return _SIZE


def values(got):
    """{quantity: µg/m³, or FAILED, or OUT_OF_RANGE} of a frame with command 0xC0.

    Both 0: nothing was measured. Sensors say so after they slept (ricki-z/SDS011 issue 40, ESP32-Paxcounter issue
    1004); in air there is always a tenth of a microgram of something.
    """
    fine = got[2] | got[3] << 8
    coarse = got[4] | got[5] << 8
    if not fine and not coarse:
        return {"pm2_5": FAILED, "pm10": FAILED}
    return {"pm2_5": _checked(fine), "pm10": _checked(coarse)}


def _checked(tenths):
    return tenths / 10 if tenths < _END else OUT_OF_RANGE


def start(bus, entry, sleep_ms):
    """Wake it; then the fan needs 30 s. Raises SensorError when it does not answer.

    The answer to the command that wakes it may be garbled (lewapek/sds-dust-sensors-arduino-library issue 6), hence
    the tries.
    """
    if _ask(bus, command(_WORK, 1, 1), _ANSWER, _WORK, sleep_ms) is None:
        raise SensorError("it does not answer")
    for what, wanted in ((_MODE, 1), (_PERIOD, 0)):
        got = _ask(bus, command(what), _ANSWER, what, sleep_ms)
        if got is not None and got[4] != wanted:
            _ask(bus, command(what, 1, wanted), _ANSWER, what, sleep_ms)


def read(bus, entry, sleep_ms):
    """{quantity: µg/m³ or OUT_OF_RANGE}, 30 s after start(). Raises SensorError."""
    silent = 0
    for attempt in range(_QUERIES):
        if attempt:
            sleep_ms(_BETWEEN_MS)
        got = _ask(bus, command(_QUERY), _VALUES, None, sleep_ms, 1)
        if got is None:
            silent += 1
            if silent == _SILENT:
                raise SensorError("it does not answer")
            continue
        reading = values(got)
        if reading["pm2_5"] != FAILED:
            return reading
    raise SensorError("it sends zeros only")


def stop(bus, entry, sleep_ms):
    """Let it sleep. One that does not answer is left as it is: there may be none."""
    _ask(bus, command(_WORK, 1, 0), _ANSWER, _WORK, sleep_ms)


def _ask(bus, request, kind, what, sleep_ms, tries=_TRIES):
    """The answer of that kind to that command, or None."""
    for _ in range(tries):
        clear(bus)
        bus.write(request)
        line = Line(bus, frame, sleep_ms, _ANSWER_MS)
        got = line.next()
        while got is not None:
            if got[1] == kind and (what is None or got[2] == what):
                return got
            got = line.next()
    return None
