"""The SCD30: its worked example, settings that are kept without power, and a first value that is none."""

from expect import equal, raises
from payload.encode import FAILED
from sensor_wire import Wire, agree, every_damage_is_refused
from sensors import scd30
from sensors.errors import SensorError
from sensors.sensirion import packed

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x61}


def word(value):
    return "r " + packed(value).hex()


VERSION = ["w d100", word(0x0342)]
AS_WANTED = ["w 5306", word(0), "w 5102", word(0), "w 4600", word(2)]
START = "w 0010000081"


def check_readings(vectors):
    for row in vectors["scd30"]:
        agree(scd30.reading(bytes.fromhex(row["data"])), row, row["origin"])


def check_damage(vectors):
    every_damage_is_refused(scd30.reading, bytes.fromhex(vectors["scd30"][0]["data"]))


def check_settings_that_are_right_are_not_written():
    wire = Wire(0x61, [VERSION, AS_WANTED, START])
    scd30.start(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_self_calibration_is_switched_off():
    """It is on as delivered, and needs a week without a break."""
    wire = Wire(
        0x61,
        [VERSION, "w 5306", word(1), "w 5306000081", "w 5102", word(0), "w 5102" + packed(520).hex()]
        + ["w 4600", word(60), "w 46000002e3", START],
    )
    entry = {"address": 0x61, "altitude_m": 520}
    scd30.start(wire, entry, wire.sleep_ms)
    wire.done()


def check_it_may_take_two_seconds_to_boot():
    wire = Wire(0x61, ["w! d100"] * 8 + [VERSION, AS_WANTED, START])
    scd30.start(wire, ENTRY, wire.sleep_ms)
    assert wire.slept >= 2000, wire.slept
    wire = Wire(0x61, ["w! d100"] * 10)
    raises(OSError, scd30.start, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_the_first_value_is_thrown_away(vectors):
    good, first = vectors["scd30"][0], vectors["scd30"][1]
    equal(first["co2"], FAILED)
    wire = Wire(
        0x61,
        ["w 0202", word(0), "w 0202", word(1), "w 0300", "r " + first["data"]]
        + ["w 0202", word(1), "w 0300", "r " + good["data"]],
    )
    agree(scd30.read(wire, ENTRY, wire.sleep_ms), good)
    wire.done()


def check_one_that_never_measures():
    wire = Wire(0x61, ["w 0202", word(0)] * 16)
    raises(SensorError, scd30.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_stop():
    wire = Wire(0x61, ["w 0104"])
    scd30.stop(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_probe():
    for script, wanted in ((VERSION, True), (["w! d100"], False), (["w d100", "r 034200"], False)):
        wire = Wire(0x61, script)
        equal(scd30.probe(wire, 0x61), wanted, script)
