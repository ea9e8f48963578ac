"""Plantower PMS5003 (and PMS7003, PMSA003): fine dust by a laser and a fan, over a UART of 9600 baud.

Source: PMS5003 series data manual V2.3 (2016), appendix I and II. It starts in active mode after a power cut and
reports by itself every 0.2 to 2.3 s; read() puts it into passive mode and asks. A sensor that does not hear (its RX is
not connected) is read all the same, but then never sleeps.
"""

import struct

from micropython import const

from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError
from sensors.serial import Line, clear

_LENGTH_VALUES = const(28)
_LENGTH_ANSWER = const(4)

_MODE = const(0xE1)  # 0 passive, 1 active
_QUERY = const(0xE2)
_WORK = const(0xE4)  # 0 sleep, 1 work

_ANSWER_MS = const(1000)
_VALUES_MS = const(3000)  # in active mode the next frame comes within 2.3 s
_TRIES = const(3)
_QUERIES = const(5)
_BETWEEN_MS = const(1000)
_END = const(1000)  # µg/m³: maximum range (technical index)


def command(what, value=0):
    """The 7 bytes of a command."""
    body = bytes((0x42, 0x4D, what, 0, value))
    return body + struct.pack(">H", sum(body))


def frame(data, at):
    """For serial.find: 32 (values) or 8 (answer) when a frame with the right sum stands at data[at]."""
    held = len(data) - at
    if data[at] != 0x42 or (held > 1 and data[at + 1] != 0x4D):
        return 0
    if held < 4:
        return -1
    length = data[at + 2] << 8 | data[at + 3]
    if length not in (_LENGTH_VALUES, _LENGTH_ANSWER):
        return 0
    size = length + 4
    if held < size:
        return -1
    end = at + size - 2
    return size if sum(data[at:end]) == data[end] << 8 | data[end + 1] else 0


def values(got):
    """{quantity: µg/m³, or FAILED, or OUT_OF_RANGE} of a frame of 32 bytes; under atmospheric environment (data 5, 6).

    No particle at all in 0.1 l of air: nothing was counted yet, whatever the other numbers say. The first frames after
    sleep are so (avaldebe/PyPMS issue 3).
    """
    numbers = struct.unpack(">13H", got[4:30])
    if not numbers[6]:
        return {"pm2_5": FAILED, "pm10": FAILED}
    return {"pm2_5": _checked(numbers[4]), "pm10": _checked(numbers[5])}


def _checked(number):
    return number if number <= _END else OUT_OF_RANGE


def start(bus, entry, sleep_ms):
    """Wake it; then the fan needs 30 s. It does not say that it heard: it begins to report."""
    bus.write(command(_WORK, 1))


def read(bus, entry, sleep_ms):
    """{quantity: µg/m³ or OUT_OF_RANGE}, 30 s after start(). Raises SensorError."""
    _tell(bus, _MODE, sleep_ms)
    why = "it does not answer"
    for attempt in range(_QUERIES):
        if attempt:
            sleep_ms(_BETWEEN_MS)
        clear(bus)
        bus.write(command(_QUERY))
        got = _next(Line(bus, frame, sleep_ms, _VALUES_MS), _LENGTH_VALUES)
        if got is None:
            continue
        reading = values(got)
        if reading["pm2_5"] != FAILED:
            return reading
        why = "it counts no particles"
    raise SensorError(why)


def stop(bus, entry, sleep_ms):
    """Let it sleep. One that does not answer is left as it is: there may be none."""
    _tell(bus, _WORK, sleep_ms)


def _tell(bus, what, sleep_ms):
    """Set `what` to 0 and wait until the sensor confirms it, as long as there is hope."""
    for _ in range(_TRIES):
        clear(bus)
        bus.write(command(what))
        line = Line(bus, frame, sleep_ms, _ANSWER_MS)
        got = _next(line, _LENGTH_ANSWER)
        while got is not None:
            if got[4] == what:
                return
            got = _next(line, _LENGTH_ANSWER)


def _next(line, length):
    """The next frame of this length, or None."""
    got = line.next()
    while got is not None and got[3] != length:
        got = line.next()
    return got
