"""The PMS5003: frames of the manual and of real sensors, and every way in which a line may fail it."""

# pyright: reportArgumentType=false, reportOperatorIssue=false

from expect import equal, raises
from payload.encode import FAILED, OUT_OF_RANGE
from sensors import pms5003
from sensors.errors import SensorError
from sensors.serial import find
from wires import Uart, hostile_values

VECTORS = "sensors_serial.json"
GOOD = bytes.fromhex("424d001c00000008000800000008000800d20046002d001e00000000970002c5")
OTHER = bytes.fromhex("424d001c000000050005000000050005008a002e0017000f0000000097000234")
READING = {"pm2_5": 8, "pm10": 8}


def _with(numbers):
    """A frame of 13 numbers."""
    body = b"\x42\x4d\x00\x1c" + b"".join(bytes((number >> 8, number & 0xFF)) for number in numbers)
    return body + bytes((sum(body) >> 8, sum(body) & 0xFF))


def check_commands(vectors):
    for row in vectors["pms5003"]["commands"]:
        equal(pms5003.command(row["what"], row["value"]).hex(), row["bytes"], row["origin"])


def check_frames(vectors):
    for row in vectors["pms5003"]["frames"]:
        got, used = find(bytes.fromhex(row["bytes"]), pms5003.frame)
        equal(used, 32)
        equal(pms5003.values(got), {"pm2_5": row["pm2_5"], "pm10": row["pm10"]}, row["origin"])
    for row in vectors["pms5003"]["answers"]:
        equal(find(bytes.fromhex(row["bytes"]), pms5003.frame)[1], 8, row["origin"])


def check_another_model_is_no_frame(vectors):
    equal(find(bytes.fromhex(vectors["pms5003"]["refused"]["bytes"]), pms5003.frame)[0], None)


def check_no_particle_at_all_is_no_measurement():
    """avaldebe/PyPMS issue 3: after sleep the first frames have values, but count nothing."""
    failed = {"pm2_5": FAILED, "pm10": FAILED}
    equal(pms5003.values(_with([9, 14, 15, 9, 14, 15, 0, 0, 0, 0, 0, 0, 0x9700])), failed)
    equal(pms5003.values(_with([0] * 13)), failed)
    clean = pms5003.values(_with([0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0x9700]))
    equal(clean, {"pm2_5": 0, "pm10": 0}, "clean air is zero")


def check_beyond_its_range():
    got = pms5003.values(_with([0, 0, 0, 900, 1000, 1001, 9, 9, 9, 9, 9, 9, 0]))
    equal(got, {"pm2_5": 1000, "pm10": OUT_OF_RANGE})


def check_a_damaged_bit_is_no_frame():
    for bit in range(256):
        data = bytearray(GOOD)
        data[bit // 8] ^= 1 << bit % 8
        equal(find(bytes(data), pms5003.frame)[0], None, bit)


def check_a_stream_that_begins_anywhere():
    for cut in range(1, 32):
        equal(find(OTHER[cut:] + GOOD, pms5003.frame)[0], GOOD, cut)
        equal(find(OTHER[:cut] + GOOD, pms5003.frame)[0], GOOD, cut)


class Sensor:
    """Active after power-on and after sleep; the first frames after sleep count no particles."""

    def __init__(self, empty=0, good=GOOD):
        self.empty = empty
        self.good = good
        self.asleep = True
        self.active = True
        self.hears = True

    def __call__(self, line, data):
        equal(len(data), 7)
        equal(sum(data[:5]), data[5] << 8 | data[6])
        what, value = data[2], data[4]
        if not self.hears or (self.asleep and (what, value) != (0xE4, 1)):
            return
        if what == 0xE1:
            self.active = value == 1
        if what == 0xE4:
            self.asleep = value == 0
            self.active = True
        if what == 0xE2:
            assert not self.active, "asked in active mode"
            self.report(line)
        elif not (what == 0xE4 and value):
            body = bytes((0x42, 0x4D, 0, 4, what, value))
            line.say(body + bytes((sum(body) >> 8, sum(body) & 0xFF)), 10)

    def report(self, line, after_ms=10):
        if self.empty:
            self.empty -= 1
            line.say(_with([1, 2, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0x9700]), after_ms)
        else:
            line.say(self.good, after_ms)


def check_wakes_asks_and_sleeps():
    sensor = Sensor()
    line = Uart(sensor)
    pms5003.start(line, {}, line.sleep_ms)
    equal(sensor.asleep, False)
    line.sleep_ms(30000)
    equal(pms5003.read(line, {}, line.sleep_ms), READING)
    equal(sensor.active, False)
    pms5003.stop(line, {}, line.sleep_ms)
    equal(sensor.asleep, True)
    assert line.us < 31000000, line.us


def check_empty_frames_after_sleep_are_asked_again():
    sensor = Sensor(empty=2)
    line = Uart(sensor)
    pms5003.start(line, {}, line.sleep_ms)
    equal(pms5003.read(line, {}, line.sleep_ms), READING)
    sensor.empty = 100
    raised = raises(SensorError, pms5003.read, line, {}, line.sleep_ms)
    assert "particles" in str(raised)


def check_frames_of_the_warm_up_are_not_the_reading():
    sensor = Sensor()
    sensor.asleep = False
    line = Uart(sensor, noise=(OTHER * 12)[7:])
    equal(pms5003.read(line, {}, line.sleep_ms), READING)
    assert line.lost, "the buffer ran over"


def check_one_that_does_not_hear_is_read_from_its_reports():
    sensor = Sensor()
    sensor.asleep = False
    sensor.hears = False
    line = Uart(sensor, noise=OTHER)
    for number in range(20):
        sensor.report(line, number * 2300)
    equal(pms5003.read(line, {}, line.sleep_ms), READING)


def check_byte_by_byte():
    line = Uart(Sensor())
    line.chunk = 1
    pms5003.start(line, {}, line.sleep_ms)
    equal(pms5003.read(line, {}, line.sleep_ms), READING)


def check_nobody_there_ends_soon():
    line = Uart()
    pms5003.start(line, {}, line.sleep_ms)
    raises(SensorError, pms5003.read, line, {}, line.sleep_ms)
    pms5003.stop(line, {}, line.sleep_ms)
    assert line.us <= 26000000, line.us


def check_hostile_bytes(vectors):
    frames = [bytes.fromhex(row["bytes"]) for row in vectors["pms5003"]["frames"] + vectors["pms5003"]["answers"]]
    frames.append(_with([60000] * 13))
    calls = pms5003.start, pms5003.read, pms5003.stop
    for value in hostile_values(frames, calls, 40000000):
        assert value in (FAILED, OUT_OF_RANGE) or 0 <= value <= 1000, value
