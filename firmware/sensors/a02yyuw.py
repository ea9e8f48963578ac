"""A02YYUW: distance to the water by ultrasound, over a UART of 9600 baud; it only sends, ten times a second or less.

Source: DFRobot wiki SEN0311 (UART output; 3 cm to 450 cm). level = zero_cm - distance: zero_cm is the distance from
the sensor down to the zero mark of the gauge. It has no sleep: its supply must be switched.
"""

from micropython import const

from payload.encode import OUT_OF_RANGE
from sensors.errors import SensorError
from sensors.serial import Line, clear

_HEAD = const(0xFF)
_SIZE = const(4)
_BLIND_MM = const(30)
_FAR_MM = const(4500)

_FRAMES = const(7)  # the median of so many: waves, rain and a passing duck
_ENOUGH = const(4)
_TIME_MS = const(4000)


def frame(data, at):
    """For serial.find: 4 when a frame with the right sum stands at data[at].

    A high byte of 0xFF is refused, because 511 mm, read from its last byte on, is a valid frame of 65281 mm.
    """
    if data[at] != _HEAD or (at + 1 < len(data) and data[at + 1] == _HEAD):
        return 0
    if len(data) < at + _SIZE:
        return -1
    return _SIZE if sum(data[at : at + 3]) & 0xFF == data[at + 3] else 0


def distance(got):
    """mm in a frame, 0 to 65279."""
    return got[1] << 8 | got[2]


def level(distances, zero_cm):
    """cm above the gauge's zero from the median of distances in mm, or OUT_OF_RANGE: too near, too far, no echo."""
    middle = sorted(distances)[len(distances) // 2]
    if not _BLIND_MM <= middle <= _FAR_MM:
        return OUT_OF_RANGE
    return zero_cm - middle / 10


def read(bus, entry, sleep_ms):
    """{"water_level": cm or OUT_OF_RANGE}. Raises SensorError: too few frames, or nobody measured zero_cm."""
    zero_cm = entry.get("zero_cm")
    if zero_cm is None:
        raise SensorError("zero_cm is not in its configuration")
    clear(bus)
    line = Line(bus, frame, sleep_ms, _TIME_MS)
    distances: list = []
    while len(distances) < _FRAMES:
        got = line.next()
        if got is None:
            break
        distances.append(distance(got))
    if len(distances) < _ENOUGH:
        raise SensorError(f"{len(distances)} of {_ENOUGH} distances came")
    return {"water_level": level(distances, zero_cm)}
