"""A rain gauge on the real firmware: every tip of the weather is in the readings, whatever the node does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nest.payload import decode
from on_board import run_node
from sky import weather
from spatz.boards import load_board
from spatz.config import compile_config
from spatz.sim import nodes

SEED = 3
BOOT_S = 0.25
START_S = 10  # of a virtual clock: board.py
SENSORS = ("bme280", "rain")
MM_PER_TIP = weather.MM_PER_TIP
SKY = weather.Weather(SEED)


def first_shower(least: int) -> float:
    """Unix time of the first tip of a shower with at least so many."""
    for slot in range(81_800, 83_000):
        start_s, _, count = SKY._shower(slot)
        if count >= least:
            return SKY.tips(start_s, start_s + 7200)[0]
    raise AssertionError("a dry year")


class Run:
    """What the node did; times in s after the weather's `unix_s`."""

    def __init__(self, ends: list[dict[str, Any]], sent: list[dict[str, Any]], unix_s: float) -> None:
        self.unix_s = unix_s
        self.ends = ends
        self.readings: list[tuple[float, dict[str, float], tuple[str, ...]]] = []
        for frame in sent:
            if "payload" in frame:
                decoded = decode(1, bytes.fromhex(frame["payload"]))
                self.readings.append((frame["at"] / 1e6, decoded.values, tuple(decoded.failed)))

    @property
    def wakes(self) -> list[dict[str, Any]]:
        """The boots in which nothing was sent: those that the contact brought about."""
        sent = [at for at, _, _ in self.readings]
        ends = [(end, end["start"] / 1e6, (end["start"] / 1e6) + end["awake_ms"] / 1000) for end in self.ends[1:]]
        return [end for end, start, stop in ends if not any(start <= at <= stop for at in sent)]

    def tips(self, start_s: float, end_s: float) -> int:
        return len(SKY.tips(self.unix_s + start_s, self.unix_s + end_s))

    def assert_all_counted(self, since_s: float = START_S + BOOT_S, rain_at_start: int = 0) -> None:
        """Each reading has the tips until it was made, some seconds before it went on air (the first after a join)."""
        assert len(self.readings) > 3
        for at, values, failed in self.readings:
            assert not failed
            least, most = (rain_at_start + self.tips(since_s, at - ago) for ago in (9, 0))
            assert least <= round(values["rain"] / MM_PER_TIP) <= most, at
            assert values["rain"] == pytest.approx(round(values["rain"] / 0.2794) * 0.2794, abs=0.051)


Runner = Callable[..., Run]


@pytest.fixture
def gauge(tmp_path: Path) -> Runner:
    def run(
        boots: int,
        unix_s: float,
        *,
        board: str = "heltec-v3",
        gauge: dict[str, Any] | None = None,
        safe_window_s: int = 0,
        **plan: Any,
    ) -> Run:
        entry = load_board(board)
        config = compile_config(entry, SENSORS, "amsel", interval_s=600, safe_window_s=safe_window_s)
        chips: dict[str, Any] = {"vext": None, "battery": None} | nodes.chips(entry, 1, SENSORS)
        chips["sensors"][-1] |= gauge or {}
        world = {
            "module": entry.module.chip,
            "boot_us": int(BOOT_S * 1e6),
            "weather": {"seed": SEED, "unix_s": unix_s},
        }
        ran = run_node(tmp_path, boots, config=json.dumps(config), chips=chips, world=world, **plan)
        return Run(ran.ends, ran.sent, unix_s)

    return run


@pytest.mark.parametrize("board", ["heltec-v3", "lora32-v2-1-6"])
def test_every_tip_is_counted_once_through_deep_sleep(gauge: Runner, board: str) -> None:
    run = gauge(32, first_shower(10) - 900, board=board)
    run.assert_all_counted()
    assert run.tips(0, run.readings[-1][0]) >= 8
    assert len(run.wakes) >= 8


def test_a_tip_wakes_the_node_for_a_moment_and_leaves_its_rhythm_alone(gauge: Runner) -> None:
    run = gauge(30, first_shower(10) - 900)
    assert run.wakes
    for wake in run.wakes:
        assert wake["awake_ms"] <= 700
        assert wake["light_ms"] == 0
    starts = [at for at, _, _ in run.readings]
    for number, start in enumerate(starts[1:]):  # as without rain: a boot's 0.25 s, and a phase of up to 10 s
        assert 600 * number - 11 <= start - starts[1] <= (600 + BOOT_S) * number + 11


def test_rain_on_a_node_that_is_awake(gauge: Runner) -> None:
    """Interrupts count while it waits; they are lost in the light sleep of the receive windows, where the pin wakes."""
    shower_s = first_shower(10)
    # three tips, 0.5 s each, while it waits for its JoinAccept
    shaken = {"chatter": [12_500_000, 15_000_000, 1_000_000]}
    run = gauge(2, shower_s - 40_000, gauge=shaken)
    assert run.ends[0]["light_ms"] > 4000
    assert [round(values["rain"] / MM_PER_TIP) for _, values, _ in run.readings] == [0, 3]
    awake = gauge(1, shower_s - 900, safe_window_s=3600, limit_s=3500)
    assert awake.ends[0]["event"] == "still awake"
    awake.assert_all_counted()
    assert awake.tips(0, awake.readings[-1][0]) >= 5


def test_after_a_power_cut_the_total_goes_on_from_what_was_sent(gauge: Runner) -> None:
    run = gauge(30, first_shower(10) - 900, between={"12": "power_cut"})
    totals = [values["rain"] for _, values, _ in run.readings]
    assert totals == sorted(totals)
    assert 0 < totals[-1] <= run.tips(0, run.readings[-1][0]) * MM_PER_TIP + 0.05
    lost = run.tips(0, run.readings[-1][0]) - round(totals[-1] / MM_PER_TIP)
    cut_s = run.ends[12]["start"] / 1e6
    assert lost <= run.tips(cut_s - 620, cut_s + 5)


def test_damaged_rtc_memory_does_not_lose_the_total(gauge: Runner) -> None:
    run = gauge(24, first_shower(10) - 900, between={"12": "damage_rtc"})
    totals = [values["rain"] for _, values, _ in run.readings]
    assert totals == sorted(totals)
    assert totals[-1] > 0


def test_a_contact_that_stays_closed_costs_two_wakes(gauge: Runner) -> None:
    hour_us = 3_600_000_000
    run = gauge(14, first_shower(10) - 40_000, gauge={"jammed": [hour_us // 2, 3 * hour_us // 2 + 7_000_000]})
    jammed = [end for end in run.wakes if hour_us // 2 <= end["start"] <= 2 * hour_us]
    assert 1 <= len(jammed) <= 3
    total = [round(values["rain"] / 0.2794) for _, values, _ in run.readings]
    assert total[-1] - run.tips(0, run.readings[-1][0]) <= 1  # its closing is a tip, as far as anybody can tell


def test_a_contact_that_chatters_is_given_up_until_the_next_reading_and_is_no_rain(gauge: Runner) -> None:
    run = gauge(180, first_shower(10) - 40_000, gauge={"chatter": [650_000_000, 1_150_000_000, 1_900_000]})
    assert [failed for _, _, failed in run.readings].count(("rain",)) == 1
    assert 100 < len(run.wakes) <= 20 + 620 // 4 + 1
    quiet = [values["rain"] for at, values, failed in run.readings if not failed]
    assert quiet
    assert quiet == [0] * len(quiet)
