"""The SHT3x: what its bytes mean, and a measurement that never heats an SHT4x."""

from expect import equal, raises
from sensor_wire import Wire, agree, every_damage_is_refused
from sensors import sht3x
from sensors.errors import SensorError

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x44}
AFTER_POWER_ON = "r 8010e1"


def check_readings(vectors):
    for row in vectors["sht3x"]:
        agree(sht3x.reading(bytes.fromhex(row["data"])), row, row["origin"])


def check_damage(vectors):
    every_damage_is_refused(sht3x.reading, bytes.fromhex(vectors["sht3x"][0]["data"]))


def check_measures_once(vectors):
    row = vectors["sht3x"][0]
    wire = Wire(0x44, ["w f32d", AFTER_POWER_ON, "w 3093", "w 2400", "r " + row["data"]])
    agree(sht3x.read(wire, ENTRY, wire.sleep_ms), row)
    wire.done()
    assert 15.5 < wire.slept < 40, wire.slept


def check_heater_is_switched_off(vectors):
    """A heater left on would be measured as weather."""
    row = vectors["sht3x"][0]
    wire = Wire(0x44, ["w f32d", "r a0103d", "w 3093", "w 3066", "w 2400", "r " + row["data"]])
    agree(sht3x.read(wire, ENTRY, wire.sleep_ms), row)
    wire.done()


def check_nothing_is_measured_before_the_status():
    """ "Measure" would heat an SHT4x, which does not answer the question for the status."""
    wire = Wire(0x44, ["w! f32d"])
    raises(OSError, sht3x.read, wire, ENTRY, wire.sleep_ms)
    wire.done()
    for answer in ("r ffffff", "r 801000", "r 5555" + "62"):
        wire = Wire(0x44, ["w f32d", answer])
        raises(SensorError, sht3x.read, wire, ENTRY, wire.sleep_ms)
        wire.done()


def check_probe():
    for script, wanted in (
        (["w f32d", AFTER_POWER_ON], True),
        (["w! f32d"], False),
        (["w f32d", "r! 3"], False),
        (["w f32d", "r 801000"], False),
        (["w f32d", "r ffffac"], False),
    ):
        wire = Wire(0x44, script)
        equal(sht3x.probe(wire, 0x44), wanted, script)
        wire.done()
