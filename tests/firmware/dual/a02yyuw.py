"""The A02YYUW: frames, the level they mean, and a line that nobody can tell to be quiet."""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportCallIssue=false

from expect import equal, raises
from payload.encode import OUT_OF_RANGE
from sensors import a02yyuw
from sensors.errors import SensorError
from sensors.serial import find
from wires import Hostile, Random, Uart

VECTORS = "sensors_serial.json"
ENTRY = {"zero_cm": 300}


def _frame(mm):
    body = bytes((0xFF, mm >> 8, mm & 0xFF))
    return body + bytes((sum(body) & 0xFF,))


def _sending(distances, noise=b""):
    line = Uart(noise=noise)
    for number, mm in enumerate(distances):
        line.say(_frame(mm), 100 * (number + 1))
    return line


def _level(distances, noise=b""):
    line = _sending(distances, noise)
    return a02yyuw.read(line, ENTRY, line.sleep_ms)["water_level"]


def check_frames(vectors):
    for row in vectors["a02yyuw"]["frames"]:
        got, used = find(bytes.fromhex(row["bytes"]), a02yyuw.frame)
        equal(used, 4)
        equal(a02yyuw.distance(got), row["mm"], row["origin"])


def check_level_is_zero_minus_distance():
    equal(round(_level([1953] * 9), 6), 104.7)
    equal(round(_level([3100] * 9), 6), -10.0, "below the zero of the gauge")


def check_the_median_leaves_out_waves_and_ducks():
    equal(round(_level([1953, 1959, 1947, 300, 1953, 4000, 1953]), 6), 104.7)


def check_blind_zone_and_far_end():
    equal(_level([29] * 9), OUT_OF_RANGE)
    equal(_level([0] * 9), OUT_OF_RANGE)
    equal(_level([4501] * 9), OUT_OF_RANGE)
    equal(round(_level([30] * 9), 6), 297.0)
    equal(round(_level([4500] * 9), 6), -150.0)


def check_a_stream_that_begins_anywhere():
    """Every distance within its range, read from each byte of a row of frames: never another one."""
    for mm in range(30, 4501, 7):
        for cut in range(4):
            got, _ = find((_frame(mm) * 3)[cut:], a02yyuw.frame)
            equal(a02yyuw.distance(got), mm, cut)
    for cut in range(4):  # the one that is valid from its last byte on
        equal(a02yyuw.distance(find((_frame(511) * 3)[cut:], a02yyuw.frame)[0]), 511, cut)


def check_old_and_torn_frames_do_not_count():
    equal(round(_level([1953] * 9, noise=(_frame(500) * 64)[1:]), 6), 104.7)


def check_byte_by_byte():
    line = _sending([1953] * 9)
    line.chunk = 1
    equal(round(a02yyuw.read(line, ENTRY, line.sleep_ms)["water_level"], 6), 104.7)


def check_too_few_frames_are_no_reading():
    equal(round(_level([1953] * 4), 6), 104.7)
    for count in range(4):
        line = _sending([1953] * count)
        raises(SensorError, a02yyuw.read, line, ENTRY, line.sleep_ms)
        assert line.us <= 4100000, line.us


def check_without_its_zero_there_is_no_level():
    for entry in ({}, {"zero_cm": None}):
        line = _sending([1953] * 9)
        raised = raises(SensorError, a02yyuw.read, line, entry, line.sleep_ms)
        assert "zero_cm" in str(raised)


def check_it_is_never_written_to():
    line = _sending([1953] * 9)
    a02yyuw.read(line, ENTRY, line.sleep_ms)
    equal(line.written, [], "its RX chooses the kind of value; bytes there disturb it")


def check_hostile_bytes():
    frames = [_frame(mm) for mm in (0, 29, 30, 511, 1953, 4500, 4501, 65279, 65535)]
    seen = 0
    for seed in range(200):
        line = Hostile(Random(seed), frames)
        try:
            level = a02yyuw.read(line, ENTRY, line.sleep_ms)["water_level"]
        except SensorError:
            continue
        seen += 1
        assert level == OUT_OF_RANGE or -150 <= level <= 297, level
        assert line.us < 5000000, line.us
    assert seen, "no reading came through at all"
