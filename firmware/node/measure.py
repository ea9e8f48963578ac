"""A reading: every sensor of the configuration asked once. One that fails is in the reading as failed, never as 0."""

from micropython import const

from payload.encode import FAILED

_EMPTY_MV = const(3200)  # a lithium cell; a board file may say otherwise
_FULL_MV = const(4200)


def take(sensors, hardware):
    """{quantity: value, or FAILED, or OUT_OF_RANGE}.

    sensors: the list of config.json; hardware: `sensor_power(on)`, `i2c()`, `sleep_ms`, `battery()` (volts, FAILED, or
    None for a board that cannot measure it).
    """
    reading = {}
    hardware.sensor_power(True)
    try:
        for sensor in sensors:
            reading.update(_ask(sensor, hardware))
    finally:
        hardware.sensor_power(False)
    volts = hardware.battery()
    if volts is not None:
        reading["battery"] = volts
    return reading


def battery_level(volts, battery, usb=None):
    """The battery as DevStatusAns wants it: 0 for a supply from outside, as far as the board can tell, 1 empty to 254
    full, 255 when it was not measured (TS001-1.0.4 5.5).

    volts: of the reading, or a mark, or None; battery, usb: those parts of config.json, or None.
    """
    if battery is None or volts is None or isinstance(volts, str):
        return 255
    if charging(volts, usb):
        return 0
    empty_mv = battery.get("empty_mv", _EMPTY_MV)
    full_mv = battery.get("full_mv", _FULL_MV)
    return max(1, min(254, 1 + int(253 * (volts * 1000 - empty_mv) / (full_mv - empty_mv))))


def charging(volts, usb):
    """Whether a battery stands so high that USB must be feeding it. volts: also a mark, or None; usb: that part of
    config.json, or None."""
    if volts is None or isinstance(volts, str) or not usb:
        return False
    return usb.get("sense") == "battery-above" and volts * 1000 > usb["mv"]


def _ask(sensor, hardware):
    name = sensor["driver"]
    wanted = sensor["quantities"]
    try:
        driver = __import__("sensors." + name, None, None, ("read",))
        got = driver.read(hardware.i2c(), sensor["address"], hardware.sleep_ms)
    except Exception as error:  # whatever a sensor does, the other values are worth sending
        print(f"sensor {name} failed: {_why(error)}")
        return dict.fromkeys(wanted, FAILED)
    for quantity in wanted:
        if quantity not in got:
            print(f"sensor {name} has no {quantity}: it is another model")
    return {quantity: got[quantity] for quantity in wanted if quantity in got}


def _why(error):
    if isinstance(error, OSError):
        return "it does not answer, is it connected?"
    return f"{type(error).__name__}: {error}"


def text(reading):
    """A reading as one line for people."""
    parts = []
    for name in sorted(reading):
        value = reading[name]
        parts.append(f"{name} {value}" if isinstance(value, str) else f"{name} {value:.2f}")
    return ", ".join(parts) or "nothing"
