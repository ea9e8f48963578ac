"""Sensirion SCD40, SCD41, SCD43: CO2, with temperature and humidity of the chip, over I2C.

Source: Datasheet SCD4x, the edition with get_sensor_variant (3.5 commands, 3.6 to 3.11). SCD41 and SCD43 measure once
when told ("single shot"), and the first shot after power-on or wake_up is thrown away; an SCD40 only measures every 5 s
until it is stopped. Self-calibration does not work with power switched off in between (3.11): it is switched off, in
the chip's RAM, so nothing wears out.
"""

from micropython import const

from payload.encode import FAILED
from sensors.errors import SensorError
from sensors.sensirion import air, ask, checked, identity, pause, send, words

_START_PERIODIC = const(0x21B1)
_STOP_PERIODIC = const(0x3F86)
_SINGLE_SHOT = const(0x219D)
_READ = const(0xEC05)
_READY = const(0xE4B8)
_SET_ALTITUDE = const(0x2427)
_SET_SELF_CALIBRATION = const(0x2416)
_SERIAL = const(0x3682)
_VARIANT = const(0x202F)
_POWER_DOWN = const(0x36E0)
_WAKE_UP = const(0x36F6)

_WAIT_MS = const(2)  # 1 ms for an answer
_WAKE_MS = const(35)  # 30 ms after power-on and after wake_up
_STOP_MS = const(500)
_SHOT_MS = const(5000)
_READY_BITS = const(0x07FF)
_TRIES = const(14)
_AGAIN_MS = const(500)

_ONE_SHOT = (1, 5)  # variants in bits 15 to 12: 0 SCD40, 1 SCD41, 5 SCD43

_single: dict = {}  # address: whether the part there has single shots; start() finds out


def reading(data):
    """{"co2": ppm, "temperature": °C, "humidity": %} in the 9 bytes of a measurement.

    CO2 of 0 means that none was measured: FAILED. Raises SensorError for a wrong checksum.
    """
    co2, t, h = words(data)
    got = air(t, 0, 100, h, -10, 60)
    got["co2"] = checked(co2, 1, 40000) if co2 else FAILED
    return got


def start(bus, entry, sleep_ms):
    """Begin the first shot, or to measure every 5 s. entry: "address" (0x62), "altitude_m" (0 when left out)."""
    address = entry["address"]
    _single.pop(address, None)
    _idle(bus, address, sleep_ms)
    try:
        variant = ask(bus, address, _VARIANT, 1, _WAIT_MS, sleep_ms)[0] >> 12
    except OSError:
        variant = 0  # firmware that does not know the question; measuring every 5 s works with all of them
    for code, value in ((_SET_SELF_CALIBRATION, 0), (_SET_ALTITUDE, int(entry.get("altitude_m", 0)))):
        send(bus, address, code, value)
        sleep_ms(_WAIT_MS)
    send(bus, address, _SINGLE_SHOT if variant in _ONE_SHOT else _START_PERIODIC)
    _single[address] = variant in _ONE_SHOT


def read(bus, entry, sleep_ms):
    """One measurement, after start(): of an SCD41 its second shot, which takes 5 s. Raises SensorError."""
    address = entry["address"]
    if address not in _single:
        raise SensorError("it was not started")
    got = _next(bus, address, sleep_ms)
    if _single[address]:
        send(bus, address, _SINGLE_SHOT)
        sleep_ms(_SHOT_MS)
        got = _next(bus, address, sleep_ms)
    return got


def stop(bus, entry, sleep_ms):
    """Power it down (SCD41, SCD43), or end the measuring (SCD40)."""
    address = entry["address"]
    single = _single.pop(address, False)
    send(bus, address, _POWER_DOWN if single else _STOP_PERIODIC)


def probe(bus, address):
    """Whether an SCD4x answers there: with its serial number, or, while it measures, with "ready or not"."""
    for _ in range(2):
        if identity(bus, address, b"\x36\x82", 3, _WAIT_MS) or identity(bus, address, b"\xe4\xb8", 1, _WAIT_MS):
            return True
        try:
            send(bus, address, _WAKE_UP)
        except OSError:
            pass  # it never acknowledges this
        pause(bus, _WAKE_MS)
    return False


def _idle(bus, address, sleep_ms):
    """Awake and not measuring, whatever it did before: asleep, every 5 s, or in the middle of a shot."""
    silent = OSError()
    for command, ms in ((_WAKE_UP, _WAKE_MS), (_STOP_PERIODIC, _STOP_MS), (_STOP_PERIODIC, _SHOT_MS)):
        try:
            send(bus, address, command)
        except OSError:
            pass  # wake_up is never acknowledged
        sleep_ms(ms)
        try:
            return ask(bus, address, _SERIAL, 3, _WAIT_MS, sleep_ms)
        except OSError as error:
            silent = error
    raise silent


def _next(bus, address, sleep_ms):
    for _ in range(_TRIES):
        if ask(bus, address, _READY, 1, _WAIT_MS, sleep_ms)[0] & _READY_BITS:
            send(bus, address, _READ)
            sleep_ms(_WAIT_MS)
            return reading(bus.readfrom(address, 9))
        sleep_ms(_AGAIN_MS)
    raise SensorError("it does not finish")
