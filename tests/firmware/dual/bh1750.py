"""The BH1750: two ranges, so that neither sun nor dusk is lost."""

from expect import equal, raises
from payload.encode import OUT_OF_RANGE
from sensor_wire import Wire, agree
from sensors import bh1750

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x23}
BRIGHT = ["w 01", "w 40", "w 7f", "w 07", "w 20"]
FINE = ["w 01", "w 42", "w 65", "w 07", "w 21"]


def check_readings(vectors):
    for row in vectors["bh1750"]:
        got = bh1750.lux(bytes.fromhex(row["data"]), row["time"], row["half"])
        agree({"illuminance": got}, row, row["origin"])


def check_measurement_time_is_sent_in_two_parts():
    """01000_MT[7,6,5] and 011_MT[4,3,2,1,0]; 69 is what the chip has after power-on."""
    for time, high, low in ((69, 0x42, 0x65), (31, 0x40, 0x7F), (254, 0x47, 0x7E), (138, 0x44, 0x6A)):
        equal(bh1750.measurement_time(time), (bytes([high]), bytes([low])), time)


def check_sun_needs_one_measurement():
    wire = Wire(0x23, [BRIGHT, "r ea60"])
    agree(bh1750.read(wire, ENTRY, wire.sleep_ms), {"illuminance": 60000 / 1.2 * 69 / 31})
    wire.done()
    assert 180 * 31 / 69 < wire.slept < 120, wire.slept


def check_shade_is_measured_finely():
    wire = Wire(0x23, [BRIGHT, "r 0036", FINE, "r 00f1"])
    agree(bh1750.read(wire, ENTRY, wire.sleep_ms), {"illuminance": 241 / 2.4})
    wire.done()
    assert wire.slept > 180 + 80, wire.slept


def check_full_is_out_of_range():
    wire = Wire(0x23, [BRIGHT, "r ffff"])
    equal(bh1750.read(wire, ENTRY, wire.sleep_ms), {"illuminance": OUT_OF_RANGE})
    wire.done()


def check_sun_that_comes_out_in_between():
    wire = Wire(0x23, [BRIGHT, "r 1000", FINE, "r ffff"])
    agree(bh1750.read(wire, ENTRY, wire.sleep_ms), {"illuminance": 4096 / 1.2 * 69 / 31})


def check_nobody_there():
    wire = Wire(0x23, ["w! 01"])
    raises(OSError, bh1750.read, wire, ENTRY, wire.sleep_ms)


def check_probe():
    for script, wanted in (
        (["w 01", "w 07", "r 0000", "w 00"], True),
        (["w! 01"], False),
        (["w 01", "w 07", "r b1b1"], False),
        (["w 01", "w 07", "r! 2"], False),
    ):
        wire = Wire(0x23, script)
        equal(bh1750.probe(wire, 0x23), wanted, script)
        wire.done()
