"""The SCD4x: single shots where the part has them, else periodic; the data sheet's examples."""

from expect import equal, raises
from sensor_wire import Wire, agree, every_damage_is_refused
from sensors import scd4x
from sensors.errors import SensorError
from sensors.sensirion import packed

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x62}
AWAKE = ["w! 36f6", "w 3682", "r f896319f07c23bbe89"]
SETTINGS = ["w 2416000081", "w 2427000081"]
SCD40 = ["w 202f", "r 04403f"]
SCD41 = ["w 202f", "r 144051"]
READY = ["w e4b8", "r " + packed(0x8006).hex()]
NOT_READY = ["w e4b8", "r " + packed(0x8000).hex()]


def check_readings(vectors):
    for row in vectors["scd4x"]:
        agree(scd4x.reading(bytes.fromhex(row["data"])), row, row["origin"])


def check_damage(vectors):
    every_damage_is_refused(scd4x.reading, bytes.fromhex(vectors["scd4x"][0]["data"]))


def check_scd41_second_shot_counts(vectors):
    """The first single shot after power-on is thrown away; then the chip is powered down."""
    good, thrown = vectors["scd4x"][0]["data"], vectors["scd4x"][1]["data"]
    script = [AWAKE, SCD41, SETTINGS, "w 219d"]
    script += [READY, "w ec05", "r " + thrown, "w 219d", NOT_READY, READY, "w ec05", "r " + good, "w 36e0"]
    wire = Wire(0x62, script)
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    agree(scd4x.read(wire, ENTRY, wire.sleep_ms), vectors["scd4x"][0])
    scd4x.stop(wire, ENTRY, wire.sleep_ms)
    wire.done()
    assert wire.slept > 5000, wire.slept


def check_scd40_measures_until_stopped(vectors):
    good = vectors["scd4x"][0]
    script = [AWAKE, SCD40, SETTINGS, "w 21b1", READY, "w ec05", "r " + good["data"], "w 3f86"]
    wire = Wire(0x62, script)
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    agree(scd4x.read(wire, ENTRY, wire.sleep_ms), good)
    scd4x.stop(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_variants(vectors):
    for row in vectors["scd4x_variants"]:
        wire = Wire(0x62, [AWAKE, "w 202f", "r " + row["data"], SETTINGS, "w 219d" if row["single"] else "w 21b1"])
        scd4x.start(wire, ENTRY, wire.sleep_ms)
        wire.done()


def check_firmware_without_variant_measures_periodically():
    wire = Wire(0x62, [AWAKE, "w! 202f", SETTINGS, "w 21b1"])
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_one_that_still_measures_is_stopped_first():
    wire = Wire(0x62, ["w! 36f6", "w! 3682", "w 3f86", AWAKE[1:], SCD40, SETTINGS, "w 21b1"])
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    wire.done()
    assert wire.slept >= 500, wire.slept


def check_shot_that_a_reset_left_behind_is_waited_for():
    wire = Wire(0x62, ["w! 36f6", "w! 3682", "w! 3f86", "w! 3682", "w! 3f86", AWAKE[1:], SCD41, SETTINGS, "w 219d"])
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    wire.done()
    assert wire.slept >= 5000, wire.slept


def check_altitude():
    """1950 m: example of 3.7.3."""
    wire = Wire(0x62, [AWAKE, SCD41, "w 2416000081", "w 2427079e09", "w 219d"])
    entry = {"address": 0x62, "altitude_m": 1950}
    scd4x.start(wire, entry, wire.sleep_ms)
    wire.done()


def check_without_start():
    wire = Wire(0x62, ["w! 36f6", "w! 3682", "w! 3f86", "w! 3682", "w! 3f86", "w! 3682"])
    raises(OSError, scd4x.start, wire, ENTRY, wire.sleep_ms)
    wire.done()
    raises(SensorError, scd4x.read, wire, ENTRY, wire.sleep_ms)


def check_endless_measurement_is_given_up():
    wire = Wire(0x62, [AWAKE, SCD41, SETTINGS, "w 219d"] + NOT_READY * 14)
    scd4x.start(wire, ENTRY, wire.sleep_ms)
    raises(SensorError, scd4x.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_probe():
    nothing = ["w! 3682", "w! e4b8", "w! 36f6"]
    for script, wanted in (
        (AWAKE[1:], True),
        (["w! 3682", NOT_READY], True),
        (nothing + AWAKE[1:], True),
        (nothing + nothing, False),
    ):
        wire = Wire(0x62, script)
        equal(scd4x.probe(wire, 0x62), wanted, script)
        wire.done()
