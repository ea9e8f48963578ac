"""Words with their CRC: the data sheets' examples, and damage."""

from expect import equal, raises
from sensor_wire import Wire, every_damage_is_refused
from sensors import sensirion
from sensors.errors import SensorError

VECTORS = "sensors_i2c.json"


def check_checksum_examples(vectors):
    for row in vectors["crc"]:
        data = bytes.fromhex(row["data"])
        equal(sensirion.crc8(data), row["crc"], row["origin"])
        equal(sensirion.packed(data[0] << 8 | data[1]), data + bytes([row["crc"]]))


def check_words_and_damage(vectors):
    data = bytes.fromhex(vectors["scd4x_serial"]["data"])
    equal(sensirion.words(data), [0xF896, 0x9F07, 0x3BBE])
    every_damage_is_refused(sensirion.words, data)
    for cut in (1, 2, 4, 8):
        raises(SensorError, sensirion.words, data[:cut])


def check_dead_bus_is_no_word():
    """All ones and all zeros, as a broken line gives them, have a wrong checksum."""
    for filler in (b"\x00", b"\xff"):
        raises(SensorError, sensirion.words, filler * 6)


def check_argument_is_sent_with_its_checksum():
    wire = Wire(0x62, ["w 2416000081"])
    sensirion.send(wire, 0x62, 0x2416, 0)
    wire.done()


def check_pause_lasts():
    """Even where a transfer takes no longer than the bus at 400 kHz."""

    class Bus:
        us = 0

        def writeto(self, address, data):
            self.us += 40
            raise OSError(19)

    bus = Bus()
    sensirion.pause(bus, 4)
    assert bus.us >= 4000, bus.us
