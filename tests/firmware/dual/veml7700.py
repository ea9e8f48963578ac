"""The VEML7700: from the sun's range upward, and corrected where it is not linear."""

from expect import equal, raises
from payload.encode import OUT_OF_RANGE
from sensor_wire import Wire, agree
from sensors import veml7700
from sensors.errors import SensorError

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x10}
BEGIN = ["w 07", "r 81c4", "w 030000"]
SUN = ["w 000113", "w 000013", "w 04"]
CLOUDS = ["w 000110", "w 000010", "w 04"]
DUSK = ["w 000100", "w 000000", "w 04"]
END = "w 000100"


def check_readings(vectors):
    for row in vectors["veml7700"]:
        agree({"illuminance": veml7700.lux(row["raw"], row["per_count"])}, row, row["origin"])


def _read(script, wanted):
    wire = Wire(0x10, [BEGIN, script, END])
    got = veml7700.read(wire, ENTRY, wire.sleep_ms)
    wire.done()
    agree(got, {"illuminance": wanted})
    return wire.slept


def check_sun_takes_the_first_range(vectors):
    """Low byte first: 0x2968 = 10600."""
    slept = _read([SUN, "r 6829"], vectors["veml7700"][4]["illuminance"])
    assert 2.5 + 25 < slept < 100, slept


def check_clouds_take_the_second():
    _read([SUN, "r e803", CLOUDS, "r a00f"], veml7700.lux(4000, 0.5376))


def check_dusk_takes_the_third():
    slept = _read([SUN, "r 0300", CLOUDS, "r 0c00", DUSK, "r 6400"], 6.72)
    assert slept > 225 + 3 * 2.5, slept


def check_night_is_zero_not_missing():
    dark = [[part, "r 0000", "w 00", "r " + part[1][4:]] for part in (SUN, CLOUDS, DUSK)]
    _read(dark, 0)


def check_a_chip_that_lost_its_supply_says_nothing_of_the_night():
    wire = Wire(0x10, [BEGIN, SUN, "r 0000", "w 00", "r 0100", END])
    raises(SensorError, veml7700.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_sun_that_comes_out_in_between():
    _read([SUN, "r 0300", CLOUDS, "r ffff"], 3 * 2.1504)


def check_full_is_out_of_range():
    _read([SUN, "r ffff"], OUT_OF_RANGE)


def check_another_chip():
    wire = Wire(0x10, ["w 07", "r 8026"])
    raises(SensorError, veml7700.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_it_is_switched_off_when_the_bus_fails():
    wire = Wire(0x10, [BEGIN, "w 000113", "w 000013", "w! 04", END])
    raises(OSError, veml7700.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_probe():
    for script, wanted in ((["w 07", "r 81c4"], True), (["w! 07"], False), (["w 07", "r c481"], False)):
        wire = Wire(0x10, script)
        equal(veml7700.probe(wire, 0x10), wanted, script)
