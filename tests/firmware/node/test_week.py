"""A node's week on the virtual board, with everything that goes wrong: no reading is lost but the one that was being
written, and what the nest asks for comes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nest.extras import Rest, read_rest
from nest.payload import decode
from nest.quantities import by_name
from node.log import FILES, _bodies, _head
from node.memory import Memory
from node_fakes import Rtc
from on_board import Run, run_node

S_1970_TO_2020 = 1577836800
HOURS = 7 * 24
CALM = 50  # boots at the end in which all is well, so that the nest can ask for everything


@dataclass
class Logged:
    """A reading in the log."""

    known: bool  # whether its moment is
    unix_s: float
    payload: bytes

    def is_of(self, reading: dict[str, Any]) -> bool:
        decoded = decode(1, self.payload)
        return set(decoded.codes) == set(reading) and all(
            abs(value - reading[name]) <= by_name()[name].resolution for name, value in decoded.values.items()
        )


def log_of(folder: Path) -> list[Logged]:
    """Every reading in the log's files, in the order of writing, read without the log's own search."""
    files = [path.read_bytes() for path in sorted((folder / "log").iterdir())]
    assert len(files) <= FILES
    result = []
    for data in sorted(files, key=lambda data: _head(data) or (0, 0)):
        head = _head(data)
        assert head
        for body, _ in _bodies(data, head[0]):
            if len(body) > 3:
                moment = int.from_bytes(body[3:7], "big") / 4
                result.append(Logged(bool(body[7] & 0x80), moment + S_1970_TO_2020, body[8:]))
    return result


def rests(run: Run) -> list[tuple[dict[str, Any], Rest]]:
    """(frame, what stands behind its reading) of all that the nest heard."""
    heard = [frame for frame in run.readings if "payload" in frame]
    return [(frame, read_rest(decode(1, bytes.fromhex(frame["payload"])).rest)) for frame in heard]


def codes_of(frame: dict[str, Any]) -> dict[str, int]:
    return dict(decode(1, bytes.fromhex(frame["payload"])).codes)


def accidents(seed: int, boots: int) -> dict[str, list[Any]]:
    """Power cuts and brown-outs while sending, while listening, at any moment of a wake: one wake in eight."""
    dice = random.Random(seed)  # noqa: S311
    moments: list[Any] = ["tx", "rx", 20_000, 60_000, 200_000, 700_000]
    chosen = dice.sample(range(3, boots - CALM), boots // 8)
    return {str(boot): [dice.choice(["power_cut", "brown_out"]), dice.choice(moments)] for boot in chosen}


def assert_all_logged(run: Run, logged: list[Logged], cuts: int) -> None:
    """What was measured is in the log, in this order, but for what was cut off while it was written."""
    place = 0
    lost = 0
    for _, reading in run.measured:
        if place < len(logged) and logged[place].is_of(reading):
            place += 1
        else:
            lost += 1
    assert place == len(logged), "the log has what was never measured"
    assert lost <= cuts


def test_week_of_accidents(tmp_path: Path) -> None:
    seed = 2  # with a join in the middle
    boots = HOURS + HOURS // 8
    cuts = accidents(seed, boots)
    world = {"seed": seed}
    calm = boots - CALM
    run = run_node(
        tmp_path, boots, interval_s=3600, nest=True, loss=30, calm=calm, cuts=cuts, world=world, timeout_s=300
    )
    logged = log_of(tmp_path)
    early = [cut for cut in cuts.values() if isinstance(cut[1], int)]
    assert_all_logged(run, logged, len(early))
    assert len(logged) > HOURS * 0.9
    events = {end["event"] for end in run.ends}
    assert events == {"deepsleep", "power_cut", "brown_out"}
    # what the nest has, heard or sent again
    have: dict[tuple[int, int, int], dict[str, int]] = {}
    for frame, rest in rests(run):
        assert not rest.damaged
        have[frame["session"], frame["fcnt"], 0] = codes_of(frame)
    for _, rest in rests(run):
        for earlier in rest.earlier:
            slot = (earlier.session, earlier.fcnt, earlier.part)
            assert have.setdefault(slot, earlier.codes) == earlier.codes, "two readings in one slot"
    came = list(have.values())
    wanted = [decode(1, entry.payload).codes for entry in logged[:-8]]  # it needs a while to ask, and to hear
    missing = [codes for codes in wanted if codes not in came]
    assert not missing, f"{len(missing)} of {len(wanted)} never came"
    assert len(have) <= len(logged)
    assert len(Memory(Rtc(run.rtc)).window) <= 450
    assert len(run.rtc) - len(Memory(Rtc(run.rtc)).read()) <= 700


@pytest.mark.parametrize("event", ["power_cut", "brown_out"])
def test_supply_that_fails_at_every_second_transmission_costs_no_reading(tmp_path: Path, event: str) -> None:
    run = run_node(tmp_path, 45, nest=True, cuts={str(boot): [event, "tx"] for boot in range(1, 30, 2)})
    logged = log_of(tmp_path)
    assert len(logged) >= 30
    assert_all_logged(run, logged, 0)
    have = [codes_of(frame) for frame, _ in rests(run)]
    have += [earlier.codes for _, rest in rests(run) for earlier in rest.earlier]
    missing = [entry for entry in logged[:-12] if decode(1, entry.payload).codes not in have]
    assert not missing, "what the failing supply has cost comes when it is asked for"


@pytest.mark.parametrize("ppm", [1000, -1000])
def test_moments_of_measuring_are_true(tmp_path: Path, ppm: int) -> None:
    """After two answers of the network the error stays below a second, in the log and in what is sent again; what was
    measured before them is put right."""
    run = run_node(tmp_path, 60, interval_s=3600, nest=True, loss=30, world={"clock_error_ppm": ppm}, timeout_s=120)
    logged = log_of(tmp_path)
    truth = {
        str(decode(1, entry.payload).codes): unix_s for (unix_s, _), entry in zip(run.measured, logged, strict=True)
    }
    assert [entry.known for entry in logged].count(False) <= 9
    for (unix_s, _), entry in list(zip(run.measured, logged, strict=True))[12:]:
        assert entry.known
        assert entry.unix_s == pytest.approx(unix_s, abs=1)
    again = 0
    for frame, rest in rests(run):
        began = frame["ended"] - frame["airtime"] / 1e6
        assert began - rest.age_s == pytest.approx(truth[str(codes_of(frame))], abs=0.75)
        for earlier in rest.earlier:
            if frame["fcnt"] > 12:
                assert earlier.age_s is not None
                assert began - earlier.age_s == pytest.approx(truth[str(earlier.codes)], abs=1)
                again += 1
    assert again >= 8


def test_orders_are_obeyed_and_answered(tmp_path: Path) -> None:
    orders = {"3": [2, "1101012c0202", 1], "6": [2, "1201003c0209", 1], "9": [2, "1305", 1]}
    run = run_node(tmp_path, 14, downlinks=orders)
    answers = {frame["fcnt"]: rest.answer for frame, rest in rests(run) if rest.answer}
    assert answers == {4: (0x11, 0), 7: (0x12, 2), 10: (0x13, 0)}
    starts = [end["start"] / 1e6 for end in run.ends]
    gaps = [later - earlier for earlier, later in pairwise(starts[1:])]
    assert gaps[0] == pytest.approx(600, abs=11)
    assert gaps[4] == pytest.approx(300, abs=11)
    assert gaps[8] == pytest.approx(60, abs=7)
    assert run.events.count("reset") == 1
    assert run.events.index("reset") == 10, "after the uplink that answers"
    symbols = [len(rest.symbols) for _, rest in rests(run)]
    assert symbols[5] >= 5, "two symbols of 20 bits"
