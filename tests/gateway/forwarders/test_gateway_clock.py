"""Held back or live: told by gateways whose clocks are right, slow, fast, jumping, standing still."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest.forwarders.gateway_clock import GatewayClock

HOUR = 3600.0
NOW = 1_760_000_000.0
CHANCE = random.Random(7)  # noqa: S311
WAY = 0.08  # from the gateway to the nest, seconds


def counter(true_time: float, started: float = NOW - 5 * HOUR) -> int:
    """The concentrator's counter at a moment."""
    return int((true_time - started) * 1e6) & 0xFFFFFFFF


def live(clock: GatewayClock, slow: float, at: float) -> float:
    """A frame heard at `at` and sent at once, by a gateway whose clock is `slow` seconds slow."""
    return clock.held_back(at - slow, counter(at), at + WAY)


def test_a_right_clock_s_live_frames_are_live() -> None:
    clock = GatewayClock()
    for i in range(100):
        assert live(clock, CHANCE.uniform(-4, 1.9), NOW + 7 * i) == 0.0


@given(
    st.lists(st.floats(3, 30 * 86_400), min_size=1, max_size=40, unique=True),
    st.sampled_from(["oldest first", "newest first", "mixed"]),
    st.booleans(),
)
def test_a_backlog_is_told_to_the_millisecond_in_whatever_order_it_comes(
    ages: list[float], order: str, started_anew: bool
) -> None:
    clock = GatewayClock()
    ages.sort(reverse=order == "oldest first")
    if order == "mixed":
        CHANCE.shuffle(ages)
    for i, age in enumerate(ages):
        arrival = NOW + i / 130
        tmst = counter(NOW - age, NOW - age - 77 * i if started_anew else NOW - 40 * 86_400)
        assert clock.held_back(arrival - age, tmst, arrival) == pytest.approx(age, abs=1e-3)
    assert live(clock, 0, NOW + 60) == 0.0


def test_a_night_s_backlog_among_live_frames() -> None:
    clock = GatewayClock()
    for i in range(60_000):
        arrival = NOW + i / 1000
        if i % 50 == 0:
            assert clock.held_back(arrival - WAY, counter(arrival - WAY), arrival) == 0.0
        else:
            heard = NOW - 8 * HOUR + i * 8 * HOUR / 60_000
            assert clock.held_back(heard, counter(heard), arrival) == pytest.approx(arrival - heard)


@pytest.mark.parametrize("slow", [3.0, 60.0, HOUR, 24 * HOUR, NOW - 600])
@pytest.mark.parametrize("counted", [True, False])
def test_a_slow_clock_is_found_out_by_its_first_frames(slow: float, counted: bool) -> None:
    clock = GatewayClock()
    told = []
    for i in range(200):
        at = NOW + 11 * i
        told.append(clock.held_back(at - slow, counter(at) if counted else None, at + WAY * (1 + i % 3)))
    assert not any(told[2:])  # the third comes after 22 s; from then on every node is answered
    heard = NOW + 2200 - HOUR
    assert clock.held_back(heard - slow, None, NOW + 2200) == pytest.approx(HOUR, abs=0.5)  # and a backlog still told


def test_a_slow_clock_is_found_out_by_the_statistics_before_any_node_sends() -> None:
    clock = GatewayClock()
    for i in range(3):
        at = NOW + 30 * i
        clock.statistics(float(int(at - HOUR)), at + WAY)
    assert live(clock, HOUR, NOW + 70) == 0.0


def test_old_statistics_in_a_backlog_prove_nothing() -> None:
    clock = GatewayClock()
    for i in range(500):
        clock.statistics(NOW - 8 * HOUR + 30 * i, NOW + i / 20)
    assert clock.held_back(NOW - 4 * HOUR, None, NOW + 25) == pytest.approx(4 * HOUR + 25)


def test_statistics_of_another_clock_than_the_frames_are_not_believed_against_them() -> None:
    clock = GatewayClock()
    assert live(clock, 0, NOW) == 0.0
    for i in range(20):
        clock.statistics(NOW + 30 * i - HOUR, NOW + 30 * i)
    assert clock.held_back(NOW - HOUR, None, NOW + 600) == pytest.approx(HOUR + 600)


def test_a_fast_clock_is_found_out_at_once_and_its_backlog_told() -> None:
    clock = GatewayClock()
    assert live(clock, -HOUR, NOW) == 0.0
    heard = NOW - 8 * HOUR
    assert clock.held_back(heard + HOUR, None, NOW + 1) == pytest.approx(8 * HOUR + 1, abs=0.1)
    assert live(clock, -HOUR, NOW + 5) == 0.0


@pytest.mark.parametrize("slow", [HOUR, -HOUR, NOW])
def test_a_clock_that_is_set_right_is_right_at_once(slow: float) -> None:
    clock = GatewayClock()
    for i in range(5):
        live(clock, slow, NOW + 15 * i)
    assert live(clock, 0, NOW + 80) == 0.0
    assert clock.held_back(NOW - 60, None, NOW + 90) == pytest.approx(150)


def test_a_clock_that_is_slewed_right_stays_live_all_the_way() -> None:
    clock = GatewayClock()
    for i in range(4):
        live(clock, HOUR, NOW + 15 * i)
    for i in range(2000):
        assert live(clock, max(HOUR - 2 * i, 0), NOW + 60 + 20 * i) == 0.0


@pytest.mark.parametrize("drift", [0.05, 0.07, 0.11, 0.23, 0.4])
@pytest.mark.parametrize("counted", [True, False])
def test_a_slow_clock_that_drifts_is_followed(drift: float, counted: bool) -> None:
    clock, held = GatewayClock(), []
    for i in range(2000):
        at = NOW + 30 * i
        held.append(clock.held_back(at - 60 - i * drift, counter(at) if counted else None, at + WAY))
    assert not any(held[2:])


def clocks_of_no_use() -> Iterator[tuple[str, float, float]]:
    for i in range(60):
        at = NOW + 13 * i
        yield "stands still", NOW - HOUR, at
        yield "jumps", at - CHANCE.uniform(5, 20 * HOUR), at
        yield "told in whole hours", at // HOUR * HOUR - HOUR, at


@pytest.mark.parametrize("kind", ["stands still", "jumps", "told in whole hours"])
def test_where_the_clock_is_of_no_use_the_counter_tells_what_is_live(kind: str) -> None:
    clock = GatewayClock()
    held = [clock.held_back(told, counter(at), at + WAY) for name, told, at in clocks_of_no_use() if name == kind]
    assert not any(held[4:])
    assert clock.held_back(NOW - HOUR, counter(NOW - 700), NOW + 1000) > 0  # off the line: held back


def test_once_the_clock_is_right_the_counter_proves_nothing() -> None:
    clock, wrap = GatewayClock(), 2**32 / 1e6
    for i in range(5):
        clock.held_back(NOW - HOUR, counter(NOW + 13 * i), NOW + 13 * i + WAY)
    arrival = NOW + 100
    assert live(clock, 0, arrival) == 0.0
    assert clock.held_back(arrival - wrap, counter(arrival - wrap), arrival) == pytest.approx(wrap)


def test_the_counter_s_wrap_is_no_jump() -> None:
    clock = GatewayClock()
    started = NOW - 2**32 / 1e6 + 100  # it wraps after 100 s
    for i in range(40):
        at = NOW + 10 * i
        held = clock.held_back(NOW - HOUR, counter(at, started), at + WAY)
        assert i < 3 or held == 0.0


def test_an_age_of_more_than_a_month_is_no_age() -> None:
    assert GatewayClock().held_back(NOW - 31 * 86_400 + 1, None, NOW) > 0
    assert GatewayClock().held_back(NOW - 31 * 86_400, None, NOW) == 0.0


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), st.integers(0, 2**32 - 1) | st.none(), st.floats(0, 100))))
def test_whatever_a_gateway_tells_no_frame_is_of_the_future_or_older_than_a_month(
    told: list[tuple[float, int | None, float]],
) -> None:
    clock, now = GatewayClock(), NOW
    for moment, tmst, wait in told:
        now += wait
        assert 0.0 <= clock.held_back(moment, tmst, now) < 31 * 86_400
        clock.statistics(moment, now)
