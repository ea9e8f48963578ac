"""The SDS011: frames of the maker's protocol and of real sensors, and every way in which a line may fail it."""

# pyright: reportArgumentType=false, reportOperatorIssue=false

from expect import equal, raises
from payload.encode import FAILED, OUT_OF_RANGE
from sensors import sds011
from sensors.errors import SensorError
from sensors.serial import find
from wires import Uart, hostile_values

VECTORS = "sensors_serial.json"
GOOD = bytes.fromhex("aac0d4043a0aa1601dab")
READING = {"pm2_5": 123.6, "pm10": 261.8}


def check_commands(vectors):
    for row in vectors["sds011"]["commands"]:
        equal(sds011.command(row["what"], row["write"], row["value"]).hex(), row["bytes"], row["origin"])


def check_frames(vectors):
    for row in vectors["sds011"]["frames"]:
        got, used = find(bytes.fromhex(row["bytes"]), sds011.frame)
        equal(used, 10)
        equal(sds011.values(got), {"pm2_5": row["pm2_5"], "pm10": row["pm10"]}, row["origin"])
    for row in vectors["sds011"]["answers"]:
        equal(find(bytes.fromhex(row["bytes"]), sds011.frame)[1], 10, row["origin"])


def check_a_damaged_bit_is_no_frame():
    for bit in range(80):
        data = bytearray(GOOD)
        data[bit // 8] ^= 1 << bit % 8
        if bit // 8 in (6, 7):
            continue  # the device ID: a wrong one fails the sum too, below
        got, _ = find(bytes(data), sds011.frame)
        equal(got, None, bit)
    equal(find(GOOD[:6] + b"\xa2" + GOOD[7:], sds011.frame)[0], None)


def check_a_stream_that_begins_anywhere():
    stream = GOOD * 4
    for cut in range(1, 10):
        got, _ = find(stream[cut:], sds011.frame)
        equal(got, GOOD, cut)
        equal(find(GOOD[:cut] + GOOD, sds011.frame)[0], GOOD, cut)


class Sensor:
    """What stands in the protocol: mode and period are kept, sleep is not; the first answer after sleep is garbled."""

    def __init__(self, vectors, mode=0, period=5, frames=(GOOD,)):
        self.garbled = bytes.fromhex(vectors["sds011"]["garbled"]["bytes"])
        self.settings = {2: mode, 8: period}
        self.frames = list(frames)
        self.asleep = True
        self.deaf = False
        self.sets = []

    def __call__(self, line, data):
        equal(len(data), 19)
        equal(data[:2], b"\xaa\xb4")
        equal(sum(data[2:17]) & 0xFF, data[17])
        what, write, value = data[2], data[3], data[4]
        if self.deaf:
            return
        if self.asleep:
            if (what, write, value) == (6, 1, 1):
                self.asleep = False
                line.say(self.garbled, 5)
            return
        if what == 4:
            line.say(self.frames.pop(0) if len(self.frames) > 1 else self.frames[0], 20)
            return
        if what == 6:
            self.asleep = write == 1 and value == 0
        elif write:
            self.settings[what] = value
            self.sets.append((what, value))
        else:
            value = self.settings[what]
        answer = bytes((what, write, value, 0, 0xA1, 0x60))
        line.say(b"\xaa\xc5" + answer + bytes((sum(answer) & 0xFF, 0xAB)), 20)


def check_wakes_asks_and_sleeps(vectors):
    sensor = Sensor(vectors)
    line = Uart(sensor)
    sds011.start(line, {}, line.sleep_ms)
    equal(sensor.asleep, False)
    equal(sensor.sets, [(2, 1), (8, 0)], "query mode, working all the time")
    line.sleep_ms(30000)
    equal(sds011.read(line, {}, line.sleep_ms), READING)
    sds011.stop(line, {}, line.sleep_ms)
    equal(sensor.asleep, True)
    assert line.us < 33000000, line.us


def check_settings_that_are_right_are_not_written_again(vectors):
    sensor = Sensor(vectors, mode=1, period=0)
    line = Uart(sensor)
    sds011.start(line, {}, line.sleep_ms)
    equal(sensor.sets, [], "the sensor keeps them in its flash")


def check_zeros_after_sleep_are_asked_again(vectors):
    zeros = bytes.fromhex("aac00000000058d931ab")
    sensor = Sensor(vectors, frames=(zeros, zeros, GOOD))
    line = Uart(sensor)
    sds011.start(line, {}, line.sleep_ms)
    began = line.us
    equal(sds011.read(line, {}, line.sleep_ms), READING)
    assert line.us - began >= 6000000, "asked at most every 3 s"
    sensor.frames = [zeros]
    raised = raises(SensorError, sds011.read, line, {}, line.sleep_ms)
    assert "zeros" in str(raised)


def check_a_lost_answer_is_asked_for_again_but_not_at_once(vectors):
    damaged = GOOD[:4] + bytes((GOOD[4] ^ 1,)) + GOOD[5:]
    sensor = Sensor(vectors, frames=(damaged, GOOD))
    asked = []

    def answer(line, data):
        asked.append(line.us)
        sensor(line, data)

    line = Uart(answer)
    sensor.asleep = False
    equal(sds011.read(line, {}, line.sleep_ms), READING)
    equal(len(asked), 2)
    assert asked[1] - asked[0] >= 3000000, "asked at most every 3 s"


def check_old_frames_in_the_buffer_are_not_the_reading(vectors):
    old = bytes.fromhex("aac08c009400bcf9d5ab")
    sensor = Sensor(vectors)
    line = Uart(sensor, noise=(old * 30)[3:])
    sensor.asleep = False
    equal(sds011.read(line, {}, line.sleep_ms), READING)
    assert line.lost, "the buffer ran over"


def check_reports_in_between_do_not_pass_for_answers(vectors):
    sensor = Sensor(vectors)
    sensor.asleep = False

    def answer(line, data):
        line.say(b"\xaa" + GOOD)  # it reports by itself
        sensor(line, data)

    line = Uart(answer)
    sds011.start(line, {}, line.sleep_ms)
    equal(sensor.sets, [(2, 1), (8, 0)])


def check_byte_by_byte(vectors):
    line = Uart(Sensor(vectors))
    line.chunk = 1
    sds011.start(line, {}, line.sleep_ms)
    equal(sds011.read(line, {}, line.sleep_ms), READING)


def check_nobody_there_ends_soon():
    for call, most_us in ((sds011.start, 3200000), (sds011.read, 5200000)):
        line = Uart()
        raises(SensorError, call, line, {}, line.sleep_ms)
        assert line.us <= most_us, line.us
    line = Uart()
    sds011.stop(line, {}, line.sleep_ms)
    assert line.us <= 3200000, "stop is called whatever happened, and does not fail"


def check_hostile_bytes(vectors):
    frames = [bytes.fromhex(row["bytes"]) for row in vectors["sds011"]["frames"] + vectors["sds011"]["answers"]]
    calls = sds011.start, sds011.read, sds011.stop
    for value in hostile_values(frames, calls, 30000000):
        assert value in (FAILED, OUT_OF_RANGE) or 0 <= value < 1000, value
