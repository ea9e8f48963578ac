"""A reading: the sensors of the configuration, each asked in its own way and rhythm.

What a driver may have: read, and where a sensor needs it start, stop and probe; README, "A sensor of your own". One
that fails is in the reading as failed, never as 0; one that is not due is not in it; and none costs the others.
"""

from micropython import const

from node.notes import Notes, mark
from payload.encode import FAILED, OUT_OF_RANGE

_EMPTY_MV = const(3200)  # a lithium cell; a board file may say otherwise
_FULL_MV = const(4200)
_LARGEST = 1e9  # of any quantity; infinity and what is not a number are not below it


def take(sensors, hardware, memory=None, now_s=0, find=None, clock=None, measured=None):
    """{quantity: value, or FAILED, or OUT_OF_RANGE}.

    sensors, find: the lists of config.json; hardware: node.hardware; memory: its `sensors` (bytes) is read and set, not
    saved; now_s: node time; clock: radio.clock, for waits that need not be awake; measured(): called when a sensor has
    delivered, because others may go on failing for seconds. Without memory every sensor is due.
    """
    find = find or []
    notes = Notes(memory.sensors if memory else b"", mark(sensors, find))
    if hardware.pulses:
        hardware.pulses.remember(memory, notes)
        notes.wakes = 0
    reading = _ask(sensors, hardware, notes, now_s, find, clock, measured)
    if memory:
        memory.sensors = notes.pack()
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


class _Sensor:
    """One that is asked now. wanted: its quantities that no sensor before it measures."""

    def __init__(self, entry, wanted, hardware):
        self._entry = entry
        self._wanted = wanted
        self._hardware = hardware
        self._driver = None
        self._bus = None
        self.warm_up_ms = 0

    def start(self):
        """Begin what takes a while. Returns the driver's read, or None when this has failed."""
        entry = self._entry
        try:
            driver = _driver(entry["driver"])
            self._bus = self._hardware.bus(entry)
            self._driver = driver
            if hasattr(driver, "start"):
                driver.start(self._bus, entry, self._hardware.sleep_ms)
            self.warm_up_ms = entry.get("warm_up_ms", 0)
            return driver.read
        except Exception as error:  # whatever a sensor does, the other values are worth sending
            self._complain(error)
            return None

    def read(self, read):
        """{quantity: value or mark} of all that is wanted and that this model has. read: of `start`."""
        name = self._entry["driver"]
        if read is None:
            return self._failed()
        try:
            got = read(self._bus, self._entry, self._hardware.sleep_ms)
            for quantity in self._wanted:
                if quantity not in got:
                    print(f"sensor {name} has no {quantity}: it is another model")
            return {quantity: _checked(got[quantity]) for quantity in self._wanted if quantity in got}
        except Exception as error:
            self._complain(error)
            return self._failed()

    def _failed(self):
        return dict.fromkeys(self._wanted, FAILED)

    def stop(self):
        """Let it rest, whatever happened."""
        stop = getattr(self._driver, "stop", None)
        if stop is None:
            return
        try:
            stop(self._bus, self._entry, self._hardware.sleep_ms)
        except Exception as error:
            self._complain(error)

    def _complain(self, error):
        why = (
            "it does not answer, is it connected?" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        )
        name = self._entry["driver"]
        print(f"sensor {name} failed: {why}")


def _driver(name):
    return __import__("sensors." + name, None, None, ("read",))


def _checked(value):
    """A number, or one of the two marks; anything else is not a value."""
    if value is FAILED or value is OUT_OF_RANGE or (isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST):
        return value
    return OUT_OF_RANGE if value == OUT_OF_RANGE else FAILED


def _ask(sensors, hardware, notes, now_s, find, clock, measured):
    """Power on, find, start, warm up, read, stop, power off."""
    search = find and (notes.found is None or not hardware.found_sensors)
    due = [] if search else _due(sensors, find, notes, now_s)
    entries = sensors + find if search else [entry for _, entry, _ in due]
    power = search or [entry for entry in entries if entry.get("bus") != "pulse"]  # a contact needs none
    asked = []
    reading = {}
    try:
        if power:
            hardware.sensor_power(True)
            _wait(max([entry.get("startup_ms", 0) for entry in entries] or [0]), hardware, None)
        if search:
            notes.found = _search(sensors, hardware, find)
            hardware.found_sensors = True
            due = _due(sensors, find, notes, now_s)
        for place, entry, wanted in due:
            if entry.get("every_s"):
                entry = dict(entry)  # notes are marked with the configuration's own
                entry["asked_s"], entry["now_s"] = notes.asked.get(place), now_s  # for what a sensor needs once a week
                notes.asked[place] = now_s  # whether it works or not: a broken one shall not empty the battery
            sensor = _Sensor(entry, wanted, hardware)
            asked.append((sensor, sensor.start()))
        _wait(max([sensor.warm_up_ms for sensor, _ in asked] or [0]), hardware, clock)
        for sensor, read in asked:
            got = sensor.read(read)
            reading.update(got)
            if measured and [value for value in got.values() if value != FAILED]:
                measured()
    finally:
        for sensor, _ in asked:
            sensor.stop()
        hardware.release()
        if power:
            hardware.sensor_power(False)
    return reading


def _wait(ms, hardware, clock):
    if clock and ms:
        clock.sleep_until_us(clock.ticks_add(clock.ticks_us(), ms * 1000), False)
    elif ms:
        hardware.sleep_ms(ms)


def _due(sensors, find, notes, now_s):
    """[(place, entry, wanted)] of the sensors that are asked now. A quantity belongs to the first that measures it."""
    result = []
    owned = set()
    for place in list(range(len(sensors))) + [len(sensors) + at for at in notes.found or ()]:
        entry = sensors[place] if place < len(sensors) else find[place - len(sensors)]
        wanted = [quantity for quantity in entry["quantities"] if quantity not in owned]
        owned.update(wanted)
        if wanted and notes.due(place, entry.get("every_s", 0), now_s):
            result.append((place, entry, wanted))
    return result


def _search(sensors, hardware, find):
    """Places in `find` of the sensors that are on the I2C bus: the first that knows itself at an address is there."""
    try:
        bus = hardware.bus({})
        there = bus.scan()
    except Exception as error:
        print(f"no sensor can be found: {type(error).__name__}: {error}")
        return []
    taken = [entry.get("address") for entry in sensors]
    result = []
    for at, entry in enumerate(find):
        address = entry["address"]
        if address in there and address not in taken and _is_it(entry["driver"], bus, address):
            name = entry["driver"]
            print(f"found {name} at {address:#x}")
            taken.append(address)
            result.append(at)
    return result


def _is_it(name, bus, address):
    try:
        driver = _driver(name)
        return not hasattr(driver, "probe") or bool(driver.probe(bus, address))
    except Exception:  # another chip may answer in any way, or not at all
        return False


def text(reading):
    """A reading as one line for people."""
    parts = []
    for name in sorted(reading):
        value = reading[name]
        parts.append(f"{name} {value}" if isinstance(value, str) else f"{name} {value:.2f}")
    return ", ".join(parts) or "nothing"
