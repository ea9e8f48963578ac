"""node.measure: the order of what a sensor is told, rhythms, what fails, and sensors that are found."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import sys

from expect import equal
from node import measure
from node.notes import Notes
from payload.encode import FAILED, OUT_OF_RANGE
from sensors.errors import SensorError


class Driver:
    """A module of sensors/ that writes down what it is told; `says`: a value, or what it raises."""

    def __init__(self, name, says):
        self.name = name
        self.says = says
        self.starts = True
        sys.modules["sensors." + name] = self

    def read(self, bus, entry, sleep_ms):
        bus.append("read " + self.name)
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says


class Slow(Driver):
    def start(self, bus, entry, sleep_ms):
        bus.append("start " + self.name)
        if not self.starts:
            raise OSError(19)

    def stop(self, bus, entry, sleep_ms):
        bus.append("stop " + self.name)
        if self.says is None:
            raise SensorError("it does not stop")


class Log(list):
    """What happened, which is also the bus; `there`: who answers a scan."""

    there = (0x23, 0x44, 0x76)

    def scan(self):
        return list(self.there)


class Hardware:
    def __init__(self):
        self.log = Log()
        self.pulses = None
        self.found_sensors = True
        self.volts = None
        self.no_bus = ""

    def sensor_power(self, on):
        self.log.append("power on" if on else "power off")

    def sleep_ms(self, ms):
        self.log.append(ms)

    def bus(self, entry):
        if entry.get("bus") == self.no_bus:
            raise OSError("no such bus")
        return self.log

    def release(self):
        self.log.append("release")

    def battery(self):
        return self.volts


class Memory:
    sensors = b""


def entry(driver, *quantities, **more):
    result = {"driver": driver, "quantities": list(quantities), "bus": "uart"}
    result.update(more)
    return result


def check_all_warm_up_together_and_each_is_stopped():
    Slow("dust", {"pm2_5": 3.5, "pm10": 7})
    Slow("gas", {"co2": 417})
    Driver("light", {"illuminance": 12})
    hardware = Hardware()
    sensors = [entry("dust", "pm2_5", "pm10", warm_up_ms=30000), entry("light", "illuminance", startup_ms=50)]
    sensors.append(entry("gas", "co2", warm_up_ms=5000))
    reading = measure.take(sensors, hardware)
    equal(reading, {"pm2_5": 3.5, "pm10": 7, "illuminance": 12, "co2": 417})
    told = ["power on", 50, "start dust", "start gas", 30000, "read dust", "read light", "read gas"]
    equal(hardware.log, told + ["stop dust", "stop gas", "release", "power off"])


def check_the_warm_up_need_not_be_awake():
    class Clock:
        slept = None

        def ticks_us(self):
            return 5

        def ticks_add(self, ticks, us):
            return ticks + us

        def sleep_until_us(self, moment_us, exact):
            self.slept = (moment_us, exact)

    Slow("dust", {"pm10": 7})
    clock = Clock()
    measure.take([entry("dust", "pm10", warm_up_ms=30000)], Hardware(), clock=clock)
    equal(clock.slept, (30000005, False))


def check_a_broken_sensor_costs_nobody_else():
    Driver("good", {"humidity": 40.5})
    for broken in (OSError(19), SensorError("no"), ValueError(), KeyError("x"), MemoryError(), None, 5, {}, []):
        driver = Slow("broken", broken)
        sensors = [entry("broken", "co2"), entry("nowhere", "pm10"), entry("good", "humidity")]
        reading = measure.take(sensors, Hardware())
        equal(reading["humidity"], 40.5)
        equal(reading["pm10"], FAILED)
        if broken == {}:
            assert "co2" not in reading, "another model, which has none"
        elif broken != []:
            equal(reading["co2"], FAILED, str(broken))
        driver.starts = False
        hardware = Hardware()
        equal(measure.take(sensors, hardware)["co2"], FAILED)
        assert "stop broken" in hardware.log
        assert "read broken" not in hardware.log
        equal(hardware.log[-2:], ["release", "power off"])
    hardware = Hardware()
    hardware.no_bus = "i2c"
    equal(measure.take([entry("good", "humidity", bus="i2c")], hardware), {"humidity": FAILED})


def check_the_moment_of_measuring_is_that_of_the_last_sensor_that_delivered():
    """One that does not answer is asked for seconds, and stopped for seconds."""
    Slow("good", {"humidity": 40.5})
    Slow("dead", OSError(116))
    hardware = Hardware()
    sensors = [entry("dead", "co2"), entry("good", "humidity"), entry("dead", "pm10")]
    measure.take(sensors, hardware, measured=lambda: hardware.log.append("now"))
    equal(hardware.log[4:8], ["read dead", "read good", "now", "read dead"])
    equal(hardware.log.count("now"), 1)


def check_only_numbers_and_marks_are_values():
    nan = float("nan")
    inf = float("inf")
    odd = ((nan, FAILED), (inf, FAILED), (-inf, FAILED), ("12", FAILED), (None, FAILED), ([1], FAILED))
    for value, wanted in ((OUT_OF_RANGE, OUT_OF_RANGE), (FAILED, FAILED), (0, 0), (-2.5, -2.5)) + odd:
        Driver("odd", {"co2": value})
        equal(measure.take([entry("odd", "co2")], Hardware()), {"co2": wanted}, str(value))


def check_what_was_not_asked_for_is_not_sent():
    Driver("many", {"co2": 1, "temperature": 2, "humidity": 3})
    equal(measure.take([entry("many", "humidity")], Hardware()), {"humidity": 3})


def asked_at(times_s, every_s, sensors=None):
    """Which of these node times a sensor with that rhythm is asked at, from wake to wake."""
    Driver("slow", {"pm10": 7})
    memory = Memory()
    result = []
    for now_s in times_s:
        hardware = Hardware()
        sensors = [entry("slow", "pm10", every_s=every_s)]
        if measure.take(sensors, hardware, memory, now_s):
            result.append(now_s)
        else:
            equal(hardware.log, ["release"], "and nothing is switched on for it")
    return result


def check_a_rhythm_of_its_own():
    equal(asked_at(range(0, 10000, 900), 3600), [0, 3600, 7200])
    equal(asked_at((0, 895, 1805, 2700, 3592, 4500, 7190), 3600), [0, 3592, 7190], "a little early counts")
    equal(asked_at((0, 10, 20), 0), [0, 10, 20])
    equal(asked_at((5000, 8000, 100, 200, 3700), 3600), [5000, 100, 3700], "the node's time began anew")


def check_a_broken_one_keeps_its_rhythm():
    Driver("slow", OSError(19))
    memory = Memory()
    sensors = [entry("slow", "pm10", every_s=3600)]
    equal(measure.take(sensors, Hardware(), memory, 0), {"pm10": FAILED})
    equal(measure.take(sensors, Hardware(), memory, 900), {})
    equal(measure.take(sensors, Hardware(), memory, 3600), {"pm10": FAILED})


def check_another_configuration_knows_no_rhythm():
    Driver("slow", {"pm10": 7})
    memory = Memory()
    measure.take([entry("slow", "pm10", every_s=3600)], Hardware(), memory, 0)
    equal(measure.take([entry("slow", "pm10", every_s=3601)], Hardware(), memory, 10), {"pm10": 7})


class Known(Driver):
    """One that knows itself on the bus, or not; or does not bear to be asked."""

    def __init__(self, name, says, is_it):
        Driver.__init__(self, name, says)
        self.is_it = is_it
        self.probed = []

    def probe(self, bus, address):
        self.probed.append(address)
        if isinstance(self.is_it, BaseException):
            raise self.is_it
        return self.is_it


def found(driver, address, *quantities):
    return entry(driver, *quantities, address=address, bus="i2c")


def check_sensors_are_found_at_power_on_and_remembered():
    best = Known("best", {"temperature": 1.5, "humidity": 50}, True)
    other = Known("other", {"temperature": 9}, OSError(5))
    wrong = Known("wrong", {"co2": 9}, False)
    Driver("light", {"illuminance": 12})
    Driver("both", {"temperature": 2.5, "pressure": 1000})
    find = [
        found("other", 0x44, "temperature"),
        found("best", 0x44, "temperature", "humidity"),
        found("best", 0x45, "temperature", "humidity"),
        found("wrong", 0x76, "co2"),
        found("both", 0x76, "temperature", "pressure"),
        found("light", 0x23, "illuminance"),
    ]
    memory = Memory()
    hardware = Hardware()
    hardware.found_sensors = False
    want = {"temperature": 1.5, "humidity": 50, "pressure": 1000, "illuminance": 12}
    equal(measure.take([], hardware, memory, 0, find), want, "a quantity comes from the first that measures it")
    equal((best.probed, other.probed, wrong.probed), ([0x44], [0x44], [0x76]), "nobody else is spoken to")
    equal(hardware.found_sensors, True)
    hardware = Hardware()
    hardware.log.there = ()
    equal(measure.take([], hardware, memory, 900, find), want)
    equal(best.probed, [0x44], "not looked for again")
    best.says = OSError(19)
    equal(measure.take([], hardware, memory, 900, find)["humidity"], FAILED, "gone, and missed")
    hardware.found_sensors = False  # switched on again, without it
    hardware.log.there = (0x23,)
    equal(measure.take([], hardware, memory, 0, find), {"illuminance": 12})


def check_a_sensor_of_the_configuration_is_not_found_again():
    Driver("light", {"illuminance": 12})
    driver = Known("best", {"temperature": 1.5}, True)
    hardware = Hardware()
    hardware.found_sensors = False
    sensors = [found("light", 0x44, "illuminance")]
    equal(measure.take(sensors, hardware, Memory(), 0, [found("best", 0x44, "temperature")]), {"illuminance": 12})
    equal(driver.probed, [])


def check_a_sensor_with_nothing_left_to_say_is_left_alone():
    Driver("light", {"illuminance": 12})
    Slow("second", {"illuminance": 13})
    hardware = Hardware()
    hardware.found_sensors = False
    sensors = [entry("light", "illuminance")]
    reading = measure.take(sensors, hardware, Memory(), 0, [found("second", 0x23, "illuminance")])
    equal(reading, {"illuminance": 12})
    assert "start second" not in hardware.log


def check_a_bus_that_does_not_work_finds_nothing():
    Driver("light", {"illuminance": 12})
    hardware = Hardware()
    hardware.found_sensors = False
    hardware.no_bus = None  # what the search asks for
    memory = Memory()
    sensors = [entry("light", "illuminance")]
    equal(measure.take(sensors, hardware, memory, 0, [found("light", 0x23, "co2")]), {"illuminance": 12})
    hardware = Hardware()
    equal(measure.take(sensors, hardware, memory, 0, [found("light", 0x23, "co2")]), {"illuminance": 12})


def check_notes_come_back_as_they_were():
    notes = Notes(b"", 7)
    equal((notes.found, notes.tips, notes.asked), (None, None, {}))
    again = Notes(notes.pack(), 7)
    equal((again.found, again.tips), (None, None))
    notes.found = [0, 3, 17]
    notes.tips = 0
    notes.tips_read = 5
    notes.asked = {0: 12, 4: 4000000000}
    notes.until_ms = 800000000000000
    notes.length_ms = 900000
    notes.wakes = 300
    notes.opening = notes.chattered = True
    packed = notes.pack()
    again = Notes(packed, 7)
    for name in ("found", "tips", "tips_read", "asked", "until_ms", "length_ms", "wakes", "opening", "chattered"):
        equal(getattr(again, name), getattr(notes, name), name)
    equal(Notes(packed, 8).found, None)
    equal(Notes(packed[:20], 7).found, None)
    assert len(packed) == 29 + 3 + 2 * 5
