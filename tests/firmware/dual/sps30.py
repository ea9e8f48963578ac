"""The SPS30: dust from ten floats, sleep, failures that it reports, and the cleaning that a sleeping node owes it."""

from expect import equal, raises
from sensor_wire import Wire, agree, every_damage_is_refused
from sensors import sps30
from sensors.errors import SensorError
from sensors.sensirion import packed

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x69}
WEEK = 604800
START = "w 00100300ac"
READY = ["w 0202", "r 0001b0"]
NO_STATUS = ["w! d206"]


def product(vectors):
    return ["w d002", "r " + vectors["sps30_product"]["data"]]


def status(value):
    return ["w d206", "r " + packed(value >> 16).hex() + packed(value & 0xFFFF).hex()]


def check_readings(vectors):
    for row in vectors["sps30"]:
        agree(sps30.reading(bytes.fromhex(row["data"])), row, row["origin"])


def check_damage(vectors):
    every_damage_is_refused(sps30.reading, bytes.fromhex(vectors["sps30"][0]["data"]))


def check_nothing_measured_is_not_clean_air(vectors):
    raises(SensorError, sps30.reading, bytes.fromhex(vectors["sps30_nothing"]["data"]))


def check_start_read_stop(vectors):
    row = vectors["sps30"][0]
    wire = Wire(
        0x69,
        [product(vectors), START, "w 0202", "r 000081", READY, status(0), "w 0300", "r " + row["data"]]
        + ["w 0104", "w 1001"],
    )
    sps30.start(wire, ENTRY, wire.sleep_ms)
    agree(sps30.read(wire, ENTRY, wire.sleep_ms), row)
    sps30.stop(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_asleep_it_is_woken_twice():
    wire = Wire(0x69, ["w! d002", "w! 1103", "w 1103", START])
    sps30.start(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_one_that_still_measures_is_stopped_first(vectors):
    wire = Wire(0x69, [product(vectors), "w! 0010", "w 0104", START])
    sps30.start(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_cleaning_is_due_once_a_week():
    equal(sps30.clean_due(None, 0), True, "after power-on")
    turns = [hour * 3600 for hour in range(4 * 168)]
    cleaned = [turn for turn in turns[1:] if sps30.clean_due(turn - 3600, turn)]
    equal(cleaned, [WEEK, 2 * WEEK, 3 * WEEK])
    equal(sps30.clean_due(0, 3 * WEEK), True, "after weeks of silence")
    equal(sps30.clean_due(None, None), False, "without a clock")


def check_cleaning_lasts_ten_seconds(vectors):
    wire = Wire(0x69, [product(vectors), START, "w 5607"])
    entry = {"address": 0x69, "asked_s": WEEK - 60, "now_s": WEEK + 60}
    sps30.start(wire, entry, wire.sleep_ms)
    wire.done()
    assert wire.slept >= 10000, wire.slept
    wire = Wire(0x69, [product(vectors), START])
    entry = {"address": 0x69, "asked_s": WEEK + 60, "now_s": WEEK + 3660}
    sps30.start(wire, entry, wire.sleep_ms)
    wire.done()


def check_failures_that_it_reports(vectors):
    for flag, text in ((1 << 4, "fan"), (1 << 5, "laser")):
        wire = Wire(0x69, [READY, status(flag)])
        assert text in str(raises(SensorError, sps30.read, wire, ENTRY, wire.sleep_ms))
    row = vectors["sps30"][0]
    for answer in (status(1 << 21 | 1 << 9), NO_STATUS):  # fan speed off its mark, a reserved bit; firmware before 2.2
        wire = Wire(0x69, [READY, answer, "w 0300", "r " + row["data"]])
        agree(sps30.read(wire, ENTRY, wire.sleep_ms), row)


def check_one_that_never_measures():
    wire = Wire(0x69, ["w 0202", "r 000081"] * 10)
    raises(SensorError, sps30.read, wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_firmware_that_cannot_sleep():
    wire = Wire(0x69, ["w 0104", "w! 1001"])
    sps30.stop(wire, ENTRY, wire.sleep_ms)
    wire.done()


def check_probe(vectors):
    for script, wanted in ((product(vectors), True), (["w! d002"], False), (["w d002", "r " + "303000" * 4], False)):
        wire = Wire(0x69, script)
        equal(sps30.probe(wire, 0x69), wanted, script)
