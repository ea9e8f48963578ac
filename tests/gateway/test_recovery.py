"""Healing beside the archive: what a running nest recovers, also after a restart; a town without loss costs nothing."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from nest import payload
from nest.archive import schema
from nest.archive.changes import CloseGap, StoreRecovered
from nest.recovery import Frame, Key, Recovery
from sqlalchemy.exc import OperationalError

_spec = importlib.util.spec_from_file_location(
    "make_parity", Path(__file__).resolve().parents[1] / "vectors/make_parity.py"
)
assert _spec is not None
assert _spec.loader is not None
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

KEY = (bytes(8), 3)


class Stored:
    """An archive of frames; counts how often it is asked."""

    def __init__(self) -> None:
        self.frames: dict[Key, dict[int, Frame]] = {}
        self.asked = 0

    def recent(self, key: Key, count: int) -> list[Frame]:
        self.asked += 1
        frames = self.frames.get(key, {})
        return [frames[fcnt] for fcnt in sorted(frames) if fcnt > max(frames) - count]

    def store(self, key: Key, fcnt: int, content: bytes, fport: int = 1) -> tuple[Key, int, bytes, int]:
        self.frames.setdefault(key, {})[fcnt] = (fcnt, content, fport)
        return key, fcnt, content, fport


def series(count: int, seed: int = 1) -> list[dict[str, int]]:
    rng = random.Random(seed)  # noqa: S311  to be repeated
    codes, made = {"temperature": 800, "humidity": 120, "pressure": 3200, "battery": 180}, []
    for _ in range(count):
        codes = {name: code + rng.randint(-1, 1) for name, code in codes.items()}
        made.append(codes)
    return made


def run(
    stored: Stored, recovery: Recovery, frames: list[tuple[int, bytes]], key: Key = KEY
) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for fcnt, frame in frames:
        for one in recovery.take([stored.store(key, fcnt, frame)]):
            assert isinstance(one, StoreRecovered)
            assert (one.dev_eui, one.join_nonce) == key
            found[one.fcnt] = dict(one.codes)
    return found


def made(readings: list[dict[str, int]]) -> list[tuple[int, bytes]]:
    node = oracle.Node()
    return [(fcnt, node.frame(fcnt, codes, 1, 0)) for fcnt, codes in enumerate(readings)]


def test_lost_readings_come_back_while_frames_come_in() -> None:
    readings, stored = series(300), Stored()
    lost = {5, 6, 7, 40, 90, 91, 150}
    found = run(stored, Recovery(stored.recent), [frame for frame in made(readings) if frame[0] not in lost])
    assert found == {fcnt: readings[fcnt] for fcnt in lost}


def test_a_nest_that_starts_again_goes_on_healing() -> None:
    readings, stored = series(120), Stored()
    frames = [frame for frame in made(readings) if not 60 <= frame[0] <= 64]
    run(stored, Recovery(stored.recent), frames[:62])
    found = run(stored, Recovery(stored.recent), frames[62:])
    assert {60, 61, 62, 63, 64} <= set(found)
    assert all(found[fcnt] == readings[fcnt] for fcnt in found)


def test_a_node_of_which_nothing_is_lost_is_looked_up_once() -> None:
    stored = Stored()
    recovery = Recovery(stored.recent)
    assert run(stored, recovery, made(series(400))) == {}
    assert stored.asked == 1
    assert [session.healer for session in recovery._sessions.values()] == [None]


def test_a_long_time_without_loss_ends_the_cost() -> None:
    stored = Stored()
    recovery = Recovery(stored.recent)
    run(stored, recovery, [frame for frame in made(series(600)) if frame[0] != 50])
    assert [session.healer for session in recovery._sessions.values()] == [None]


def test_more_sessions_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nest.recovery.MOST_SESSIONS", 100)
    stored = Stored()
    recovery = Recovery(stored.recent)
    for number in range(150):
        recovery.take([stored.store((number.to_bytes(8, "big"), 1), 0, b"\x00")])
    assert len(recovery._sessions) == 100


def test_a_large_town_without_loss_is_not_looked_up_again_and_again() -> None:
    stored = Stored()
    recovery = Recovery(stored.recent)
    for fcnt in range(3):
        for number in range(5000):
            recovery.take([stored.store((number.to_bytes(8, "big"), 1), fcnt, b"\x00")])
    assert stored.asked == 5000


def test_healers_of_more_sessions_than_there_is_room_for_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nest.recovery.MOST_HEALERS", 3)
    readings, stored = series(60), Stored()
    recovery = Recovery(stored.recent)
    keys = [(number.to_bytes(8, "big"), 1) for number in range(5)]
    found: set[tuple[bytes, int]] = set()
    for fcnt, frame in made(readings):
        if fcnt not in (20, 21):
            for key in keys:
                for one in recovery.take([stored.store(key, fcnt, frame)]):
                    assert isinstance(one, StoreRecovered)
                    assert one.codes == readings[one.fcnt]
                    found.add((one.dev_eui, one.fcnt))
        assert len(recovery._healing) <= 3
    assert found == {(key[0], fcnt) for key in keys for fcnt in (20, 21)}


def test_many_sessions_begin_in_slices() -> None:
    """After a restart all begin at once: downlinks cannot wait for that."""
    readings, stored = series(250), Stored()
    frames = made(readings)
    keys = [(number.to_bytes(8, "big"), 1) for number in range(4)]
    last = [stored.store(key, *frame) for key in keys for frame in frames[:-4] if frame[0] % 9 != 5]
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001  # so long takes a frame
        return now

    recovery = Recovery(stored.recent, clock)
    found = recovery.take(last[-1:], 0)
    assert (found, recovery.waiting, stored.asked) == ([], 1, 0)
    for frame in frames[-4:-1]:
        found += recovery.take([stored.store(key, *frame) for key in keys], 0)
    assert (found, recovery.waiting, stored.asked) == ([], 4, 0)
    slices = 0
    while recovery.waiting:
        began = now
        found += recovery.take((), 0.01)
        assert now - began < 0.02
        if slices == 10:  # in the middle of one of them
            found += recovery.take([stored.store(key, *frames[-1]) for key in keys], 0)
        slices += 1
    assert slices > 50
    other = Stored()
    lost = run(other, Recovery(other.recent), [f for f in frames if f[0] >= 246 or f[0] % 9 != 5])
    assert len(lost) > 20
    got = {(one.dev_eui, one.fcnt): one.codes for one in found if isinstance(one, StoreRecovered)}
    assert got == {(key[0], fcnt): codes for key in keys for fcnt, codes in lost.items()}


def test_a_frame_without_a_reading_closes_its_gap() -> None:
    dust = {"temperature": 800, "pm2_5": 100}
    node, stored = oracle.Node(), Stored()
    frames = []
    for fcnt in range(60):
        if fcnt == 30:
            continue  # MAC commands alone, and lost
        codes = dust if fcnt % 4 == 0 else {"temperature": 800}
        frames.append((fcnt, node.frame(fcnt, codes, 2, 0)))
    recovery = Recovery(stored.recent)
    wanted = [one for fcnt, frame in frames for one in recovery.take([stored.store(KEY, fcnt, frame)])]
    assert wanted == [CloseGap(*KEY, 30, 0, schema.NEVER_WAS)]


def test_what_the_log_tells_helps_its_neighbours() -> None:
    readings = series(140)
    for codes in readings[50:53]:
        codes["temperature"] += 100
    frames = [frame for frame in made(readings) if not 48 <= frame[0] <= 54]
    fcnt, frame = frames.pop()
    size = len(frame) - len(payload.decode(1, frame).rest)
    values = payload.decode(1, made(readings)[51][1])
    assert values.codes["temperature"] == readings[51]["temperature"]
    packed = made(readings)[51][1][:size]
    item = bytes([4, KEY[1], 0, 51, 0, 0, 0, 100]) + packed[:1] + b"\x01" + packed[1:]
    told = frame[:size] + bytes([frame[size] | 0x40, len(item)]) + item + frame[size + 1 :]
    stored = Stored()
    found = run(stored, Recovery(stored.recent), [*frames, (fcnt, told)])
    assert set(found) == {48, 49, 50, 52, 53, 54}
    assert all(found[at] == readings[at] for at in found)


def test_hostile_payloads_are_survived() -> None:
    stored, rng = Stored(), random.Random(2)  # noqa: S311  to be repeated
    recovery = Recovery(stored.recent)
    for _ in range(2000):
        recovery.take([stored.store(KEY, rng.randrange(400), rng.randbytes(rng.randrange(60)), rng.choice((1, 1, 2)))])


def test_an_archive_that_is_away_is_asked_again_with_the_next_frame(caplog: pytest.LogCaptureFixture) -> None:
    stored, away = Stored(), [True]

    def recent(key: Key, count: int) -> list[Frame]:
        if away[0]:
            raise OperationalError("select", {}, Exception("server closed the connection"))
        return stored.recent(key, count)

    recovery = Recovery(recent)
    readings = series(80)
    frames = [frame for frame in made(readings) if not 40 <= frame[0] <= 42]
    found = run(stored, recovery, frames[:50])
    assert recovery.waiting == 0
    assert "Traceback" not in caplog.text
    away[0] = False
    found |= run(stored, recovery, frames[50:])
    assert found == {fcnt: readings[fcnt] for fcnt in (40, 41, 42)}
