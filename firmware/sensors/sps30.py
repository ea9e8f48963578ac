"""Sensirion SPS30: fine dust by a laser and a fan, over I2C (its pin SEL to ground before it gets power).

Source: Datasheet SPS30, version 2.0 (June 2023): 1.1 start-up time, 4.1 modes, 4.2 fan cleaning, 4.3 output, 4.4
status, 6.3 commands. The fan cleans itself once a week of operation, and forgets the time when it loses power: the
node, which switches it off, starts the cleaning itself.
"""

import struct

from micropython import const

from sensors.errors import SensorError
from sensors.sensirion import ask, checked, identity, send, words

_START = const(0x0010)
_FLOATS = const(0x0300)  # argument: big-endian floats, which every firmware has
_STOP = const(0x0104)
_READY = const(0x0202)
_READ = const(0x0300)
_SLEEP = const(0x1001)
_WAKE_UP = const(0x1103)
_CLEAN = const(0x5607)
_STATUS = const(0xD206)
_PRODUCT = b"\xd0\x02"  # answers "00080000"

_WAIT_MS = const(20)  # the longest command
_CLEANING_MS = const(10500)
_CLEAN_EVERY_S = const(604800)
_TRIES = const(10)
_AGAIN_MS = const(300)  # a new value every second
_FAN = const(1 << 4)
_LASER = const(1 << 5)


def reading(data):
    """{"pm2_5": µg/m³, "pm10": µg/m³} in the 60 bytes of a measurement, ten floats.

    All ten 0: nothing was measured. Raises SensorError for that and for a wrong checksum.
    """
    got = words(data)
    if not any(got):
        raise SensorError("it did not measure")
    pm2_5, pm10 = (struct.unpack(">f", struct.pack(">HH", got[at], got[at + 1]))[0] for at in (2, 6))
    return {"pm2_5": checked(pm2_5, 0, 1000), "pm10": checked(pm10, 0, 1000)}


def clean_due(asked_s, now_s):
    """Whether the fan is cleaned in this turn: the first since power-on, and the first of every week.

    asked_s: node time of the turn before, in s, or None; now_s: node time, None when nobody knows it.
    """
    if now_s is None:
        return False
    return asked_s is None or asked_s // _CLEAN_EVERY_S != now_s // _CLEAN_EVERY_S


def start(bus, entry, sleep_ms):
    """Fan and laser on; 30 s later its values are steady. Cleans the fan when due, which takes 10 s.

    entry: "address" (0x69), "asked_s" and "now_s" (see clean_due; may be left out).
    """
    address = entry["address"]
    if not probe(bus, address):
        for _ in range(2):  # the first one only wakes its interface
            try:
                send(bus, address, _WAKE_UP)
            except OSError:
                pass
        sleep_ms(_WAIT_MS)
    try:
        send(bus, address, _START, _FLOATS)
    except OSError:  # it measures already, or it is not there
        send(bus, address, _STOP)
        sleep_ms(_WAIT_MS)
        send(bus, address, _START, _FLOATS)
    sleep_ms(_WAIT_MS)
    if clean_due(entry.get("asked_s"), entry.get("now_s")):
        send(bus, address, _CLEAN)
        sleep_ms(_CLEANING_MS)


def read(bus, entry, sleep_ms):
    """The newest measurement, 30 s after start(). Raises SensorError: no value, a fan or a laser that failed."""
    address = entry["address"]
    for _ in range(_TRIES):
        if ask(bus, address, _READY, 1, 0, sleep_ms)[0] & 1:
            break
        sleep_ms(_AGAIN_MS)
    else:
        raise SensorError("it does not measure")
    try:
        status = ask(bus, address, _STATUS, 2, 0, sleep_ms)[1]
    except OSError:
        status = 0  # firmware before 2.2 has no such register
    if status & _FAN:
        raise SensorError("its fan stands still")
    if status & _LASER:
        raise SensorError("its laser has failed")
    send(bus, address, _READ)
    return reading(bus.readfrom(address, 60))


def stop(bus, entry, sleep_ms):
    """Fan and laser off, then sleep."""
    address = entry["address"]
    send(bus, address, _STOP)
    sleep_ms(_WAIT_MS)
    try:
        send(bus, address, _SLEEP)
    except OSError:
        pass  # firmware before 2.0 cannot sleep


def probe(bus, address):
    """Whether an SPS30 answers there, with its product type."""
    return identity(bus, address, _PRODUCT, 4) == [0x3030, 0x3038, 0x3030, 0x3030]
