"""The SHT4x: what its bytes mean, and that no command of the driver heats."""

from expect import equal, raises
from sensor_wire import Wire, agree, every_damage_is_refused
from sensors import sht4x
from sensors.errors import SensorError

VECTORS = "sensors_i2c.json"
ENTRY = {"address": 0x46}


def check_readings(vectors):
    for row in vectors["sht4x"]:
        agree(sht4x.reading(bytes.fromhex(row["data"])), row, row["origin"])


def check_damage(vectors):
    every_damage_is_refused(sht4x.reading, bytes.fromhex(vectors["sht4x"][0]["data"]))


def check_measures_once(vectors):
    row = vectors["sht4x"][0]
    wire = Wire(0x46, ["w fd", "r " + row["data"]])
    agree(sht4x.read(wire, ENTRY, wire.sleep_ms), row)
    wire.done()
    assert 8.3 < wire.slept < 20, wire.slept


def check_not_ready_is_no_reading():
    wire = Wire(0x46, ["w fd", "r! 6"])
    raises(OSError, sht4x.read, wire, ENTRY, wire.sleep_ms)
    wire = Wire(0x46, ["w fd", "r " + "00" * 6])
    raises(SensorError, sht4x.read, wire, ENTRY, wire.sleep_ms)


def check_probe():
    for script, wanted in (
        (["w 89", "r f896319f07c2"], True),
        (["w! 89"], False),
        (["w 89", "r! 6"], False),
        (["w 89", "r f896319f07c3"], False),
        (["w 89", "r 000081000081"], False),
    ):
        wire = Wire(0x46, script)
        equal(sht4x.probe(wire, 0x46), wanted, script)
        wire.done()
