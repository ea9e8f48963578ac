"""The BME280: compensation against the data sheet's example and float formulas, and the bus by a strict fake."""

# pyright: reportArgumentType=false

from expect import equal, raises
from payload.encode import FAILED, OUT_OF_RANGE
from sensors import bme280, bmp280
from sensors.errors import SensorError

VECTORS = "bme280.json"
ENTRY = {"address": 0x76}


def _calibration(vectors):
    given = vectors["calibration"]
    return bme280.calibration(bytes.fromhex(given["block_1"]), bytes.fromhex(given["block_2"]))


def _close(got, want, tolerance, what):
    assert not isinstance(got, str), f"{what}: {got}"
    assert abs(got - want) <= tolerance, f"{what}: got {got}, want {want}"


def check_coefficients_from_registers(vectors):
    cal = _calibration(vectors)
    for letter, got in (("t", cal.t), ("p", cal.p), ("h", cal.h)):
        equal(list(got), vectors["calibration"][letter], letter)


def check_negative_humidity_coefficients(vectors):
    negative = vectors["negative"]
    block_1 = bytes.fromhex(vectors["calibration"]["block_1"])
    cal = bme280.calibration(block_1, bytes.fromhex(negative["block_2"]))
    equal(list(cal.h)[1:], negative["h"], negative["why"])


def check_worked_example(vectors):
    """128422, 25.08 °C, 100653 Pa: the data sheet's example; whole numbers lose at most a few 256ths of a Pa."""
    cal = _calibration(vectors)
    t_fine = bme280.temperature_fine(cal, 519888)
    equal(t_fine, 128422)
    equal(bme280.temperature(t_fine), 2508)
    _close(bme280.pressure(cal, 415148, t_fine) / 256, 100653.27, 0.02, "pressure")


def check_rows_agree_with_floating_point_formulas(vectors):
    cal = _calibration(vectors)
    for row in vectors["rows"]:
        got = bme280.reading(cal, bytes.fromhex(row["data"]))
        _close(got["temperature"], row["temperature"], 0.01, row["name"])
        _close(got["pressure"], row["pressure"], 0.03, row["name"])
        _close(got["humidity"], row["humidity"], 0.05, row["name"])


def check_reset_values_are_not_readings(vectors):
    cal = _calibration(vectors)
    nothing = {"temperature": FAILED, "pressure": FAILED, "humidity": FAILED}
    equal(bme280.reading(cal, bytes.fromhex("8000008000008000")), nothing)
    good = bytes.fromhex(vectors["rows"][0]["data"])
    got = bme280.reading(cal, bytes.fromhex("800000") + good[3:])
    equal(got["pressure"], FAILED)
    _close(got["temperature"], 25.08, 0.001, "temperature")
    got = bme280.reading(cal, good[:6] + b"\x80\x00")
    equal(got["humidity"], FAILED)
    _close(got["pressure"], 1006.53, 0.01, "pressure")
    equal(bme280.reading(cal, good[:3] + b"\x80\x00\x00" + good[6:]), nothing)


def check_implausible_is_out_of_range(vectors):
    cal = _calibration(vectors)
    got = bme280.reading(cal, bytes.fromhex("ffff00ffff00ffff"))
    equal(got["temperature"], OUT_OF_RANGE)
    equal(got["pressure"], OUT_OF_RANGE)


def check_empty_calibration_is_refused():
    for filler in (b"\x00", b"\xff"):
        raises(SensorError, bme280.calibration, filler * 26, filler * 7)


class Bus:
    """A strict BME280 on a bus: knows only the registers of the data sheet, measures only when told."""

    def __init__(self, vectors, chip=0x60, busy=1):
        self.chip = chip
        self.vectors = vectors
        self.busy = busy  # how often the status says "measuring" after a start
        self.left = 0
        self.written = []
        self.data = bytes.fromhex("8000008000008000")

    def readfrom_mem(self, address, register, size):
        equal(address, 0x76)
        given = self.vectors["calibration"]
        if register == 0xF3:
            self.left -= 1
            return bytes([8 if self.left >= 0 else 0])
        blocks = {0xD0: bytes([self.chip]), 0x88: bytes.fromhex(given["block_1"]), 0xF7: self.data}
        if self.chip == 0x60:
            blocks[0xE1] = bytes.fromhex(given["block_2"])
        return blocks[register][:size]

    def writeto_mem(self, address, register, data):
        equal(address, 0x76)
        self.written.append((register, data[0]))
        if register == 0xF4 and data[0] & 3 == 1:
            self.left = self.busy
            self.data = bytes.fromhex(self.vectors["rows"][0]["data"])


def check_measures_once_in_forced_mode(vectors):
    bus = Bus(vectors)
    slept = []
    got = bme280.read(bus, ENTRY, slept.append)
    equal(bus.written, [(0xF5, 0), (0xF2, 1), (0xF4, 0x25)])
    assert sum(slept) >= 10
    _close(got["temperature"], 25.08, 0.001, "temperature")
    equal(sorted(got), ["humidity", "pressure", "temperature"])


def check_bmp280_has_no_humidity(vectors):
    bus = Bus(vectors, chip=0x58)
    got = bme280.read(bus, ENTRY, lambda ms: None)
    equal(sorted(got), ["pressure", "temperature"])
    equal([register for register, _ in bus.written], [0xF5, 0xF4])


def check_another_chip_is_refused(vectors):
    raised = raises(SensorError, bme280.read, Bus(vectors, chip=0x61), ENTRY, lambda ms: None)
    assert "0x61" in str(raised)


def check_endless_measurement_is_given_up(vectors):
    raises(SensorError, bme280.read, Bus(vectors, busy=1000000), ENTRY, lambda ms: None)


def check_each_knows_itself(vectors):
    for chip, is_bme, is_bmp in ((0x60, True, False), (0x58, False, True), (0x61, False, False)):
        bus = Bus(vectors, chip=chip)
        equal((bme280.probe(bus, 0x76), bmp280.probe(bus, 0x76)), (is_bme, is_bmp), chip)
        equal(bus.written, [])
