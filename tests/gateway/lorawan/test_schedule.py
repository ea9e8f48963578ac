"""The law of the air, by a judge who adds up everything anew: no hour is ever too full, nothing overlaps."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest.lorawan import eu868
from nest.lorawan.airtime import airtime_us
from nest.lorawan.schedule import BUSY, DUTY_CYCLE, FORBIDDEN, MOST_ENTRIES, Booking, Schedule

HOUR_US = 3_600_000_000
RX1, RX2, NARROW = 868_100_000, 869_525_000, 868_850_000  # 1 %, 10 %, 0.1 %
LIMIT_US = {RX1: 36_000_000, RX2: 360_000_000, NARROW: 3_600_000}  # the judge's own table
GATEWAY = "aa" * 8


def fullest_hour_us(sent: list[tuple[int, int]]) -> int:
    """Airtime in the fullest hour, looking at those that begin or end where a transmission does."""
    edges = [start for start, _ in sent] + [end - HOUR_US for _, end in sent]
    return max(
        (sum(max(min(end, edge + HOUR_US) - max(start, edge), 0) for start, end in sent) for edge in edges), default=0
    )


@dataclass
class Gateway:
    """A schedule, and what the gateway really sends."""

    schedule: Schedule = field(default_factory=Schedule)
    now: float = 1000.0
    booked: list[tuple[Booking, int]] = field(default_factory=list)  # and its frequency

    def ask(self, ahead: float, airtime: int, freq_hz: int) -> str | None:
        refusal = self.schedule.refusal(GATEWAY, self.now + ahead, airtime, freq_hz, 125_000, self.now)
        if refusal is None:
            booking = self.schedule.book(GATEWAY, self.now + ahead, airtime, freq_hz, 125_000, self.now)
            self.booked.append((booking, freq_hz))
        return refusal

    def check(self) -> None:
        every = sorted((booking.start_us, booking.end_us) for booking, _ in self.booked)
        for (_, end), (start, _) in pairwise(every):
            assert start - end >= 41_500, "40 ms and the radio's start lie between two transmissions"
        for freq_hz, limit_us in LIMIT_US.items():
            sent = [(booking.start_us, booking.end_us) for booking, freq in self.booked if freq == freq_hz]
            assert fullest_hour_us(sent) <= limit_us


REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 400),  # seconds that pass
        st.floats(0.05, 16),  # until it starts
        st.sampled_from([(7, 20), (9, 33), (12, 33), (12, 64)]),
        st.sampled_from([RX1, RX1, RX2, NARROW]),
        st.integers(1, 40),  # as often as it goes
        st.integers(0, 9),  # 0: the gateway refuses
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_nothing_overlaps_and_no_hour_is_too_full(requests: list[tuple]) -> None:
    gateway = Gateway()
    for passed, ahead, (sf, size), freq_hz, times, fate in requests:
        gateway.now += passed
        for turn in range(times):
            gateway.ask(ahead + turn * 2.9, airtime_us(sf, 125_000, size, crc=False), freq_hz)
        if fate == 0 and gateway.booked:
            gateway.schedule.release(gateway.booked.pop()[0])
    gateway.check()


@settings(max_examples=40, deadline=None)
@given(REQUESTS, st.integers(0, 30))
def test_what_is_given_back_leaves_no_trace(requests: list[tuple], at: int) -> None:
    with_it, without = Gateway(), Gateway()
    for number, (passed, ahead, (sf, size), freq_hz, _, _) in enumerate(requests):
        airtime = airtime_us(sf, 125_000, size, crc=False)
        for gateway in (with_it, without):
            gateway.now += passed
        if number == at and with_it.ask(ahead, airtime, freq_hz) is None:
            with_it.schedule.release(with_it.booked.pop()[0])
        assert with_it.ask(ahead, airtime, freq_hz) == without.ask(ahead, airtime, freq_hz)
        assert with_it.schedule.left(with_it.now) == without.schedule.left(without.now)
        assert with_it.schedule.load(GATEWAY, with_it.now) == without.schedule.load(GATEWAY, without.now)


def test_the_limit_is_reached_to_the_last_frame_and_returns_after_an_hour() -> None:
    gateway = Gateway()
    airtime = 1_000_000
    while gateway.ask(1.0, airtime, RX1) is None:
        gateway.now += 5
    assert len(gateway.booked) == 36
    assert gateway.ask(1.0, airtime, RX1) == DUTY_CYCLE
    assert gateway.ask(1.0, airtime, RX2) is None  # another sub-band
    assert gateway.schedule.left(gateway.now)[GATEWAY] == {"868.0-868.6": 0.0, "869.4-869.65": 1 - 1 / 360}
    gateway.now = 1000.0 + 3600 + 10  # its end is an hour, and the guard, after that of the first one
    assert gateway.ask(1.0, airtime, RX1) is None
    assert gateway.ask(3.0, airtime, RX1) == DUTY_CYCLE  # the second one, 5 s later, still counts
    gateway.check()


def test_one_planned_earlier_must_leave_room_for_what_is_planned_behind_it() -> None:
    gateway = Gateway()
    for turn in range(35):
        assert gateway.ask(6.0 + turn * 1.1, 1_000_000, RX1) is None
    assert gateway.ask(3.0, 1_000_001, RX1) == DUTY_CYCLE
    assert gateway.ask(3.0, 1_000_000, RX1) is None


@pytest.mark.parametrize(
    ("start", "refusal"),
    [(9.0, BUSY), (10.0, BUSY), (10.5, BUSY), (11.04, BUSY), (11.05, None), (8.951, None), (8.96, BUSY)],
)
def test_one_transmitter_sends_one_thing_at_a_time_in_any_sub_band(start: float, refusal: str | None) -> None:
    gateway = Gateway()
    assert gateway.ask(10.0, 1_000_000, RX1) is None
    assert gateway.ask(start, 1_000_000, RX2) == refusal
    other = gateway.schedule.refusal("bb" * 8, 1010.0, 1_000_000, RX1, 125_000, 1000.0)
    assert other is None  # another gateway


@pytest.mark.parametrize(
    ("freq_hz", "bw_hz"),
    [(868_650_000, 125_000), (868_560_000, 125_000), (869_300_000, 125_000), (868_000_000, 125_000), (433_175_000, 1)],
)
def test_outside_and_across_sub_bands_nothing_is_sent(freq_hz: int, bw_hz: int) -> None:
    assert Schedule().refusal(GATEWAY, 1.0, 1, freq_hz, bw_hz, 0.0) == FORBIDDEN
    assert eu868.max_eirp_dbm(freq_hz, bw_hz) is None
    with pytest.raises(ValueError, match="sub-band"):
        Schedule().book(GATEWAY, 1.0, 1, freq_hz, bw_hz, 0.0)


def test_the_law_s_limits_are_of_radiated_power_over_a_dipole() -> None:
    assert eu868.max_eirp_dbm(868_100_000) == pytest.approx(14 + 2.15)
    assert eu868.max_eirp_dbm(869_525_000) == pytest.approx(27 + 2.15)


def test_memory_is_bounded_and_what_is_summed_up_counts_no_less() -> None:
    gateway = Gateway()
    for _ in range(MOST_ENTRIES + 600):
        gateway.now += 1.0
        assert gateway.ask(1.0, 40_000, RX2) is None
    hour = gateway.schedule._of[GATEWAY].bands[4]
    assert len(hour.bookings) <= MOST_ENTRIES
    assert hour.total_us == (MOST_ENTRIES + 600) * 40_000
    for number in range(5000):
        gateway.schedule.load(f"{number:016x}", gateway.now)
    assert len(gateway.schedule._of) <= 1025
    assert GATEWAY in gateway.schedule._of  # it has sent within the hour


# -- clocks


def test_jitter_of_the_way_does_not_move_what_the_gateway_s_counter_tells() -> None:
    schedule = Schedule()
    assert schedule.heard_at(GATEWAY, 5_000_000, 100.020) == pytest.approx(100.020)
    assert schedule.heard_at(GATEWAY, 6_000_000, 101.320) == pytest.approx(101.020, abs=0.001)  # 0.3 s late
    assert schedule.heard_at(GATEWAY, 7_000_000, 102.010) == pytest.approx(102.010, abs=0.001)  # quicker than all
    assert schedule.heard_at(GATEWAY, 8_000_000, 103.120) == pytest.approx(103.010, abs=0.001)
    assert schedule.heard_at(GATEWAY, 12, 104.0) == pytest.approx(104.0)  # it was started anew


def test_the_gateway_s_counter_wraps() -> None:
    schedule = Schedule()
    first = schedule.heard_at(GATEWAY, 2**32 - 500_000, 100.0)
    assert schedule.heard_at(GATEWAY, 500_000, 101.2) - first == pytest.approx(1.0, abs=0.001)


# -- restarts


def restarted(gateway: Gateway, passed: float, *, unsaved_s: float, reboot: bool = False) -> Gateway:
    saved = json.loads(json.dumps(gateway.schedule.export(gateway.now, 1e9)))
    schedule = Schedule()
    now = 20.0 if reboot else gateway.now + passed
    schedule.restore(saved, now, 1e9 + passed, unsaved_s)
    return Gateway(schedule, now)


def fill(gateway: Gateway, freq_hz: int) -> int:
    count = 0
    while gateway.ask(1.0 + count * 1.2, 1_000_000, freq_hz) is None:
        count += 1
    return count


@pytest.mark.parametrize(("passed", "left"), [(0, 16), (1800, 16), (3590, 36), (7200, 36)])
def test_a_restart_forgets_nothing_that_the_hour_still_holds(passed: float, left: int) -> None:
    gateway = Gateway()
    for _ in range(20):
        assert gateway.ask(0.1, 1_000_000, RX1) is None
        gateway.now += 2
    assert fill(restarted(gateway, passed, unsaved_s=0), RX1) == left


def test_what_was_planned_when_the_nest_ended_is_in_the_way_of_nothing_else() -> None:
    gateway = Gateway()
    assert gateway.ask(6.0, 1_000_000, RX1) is None
    assert restarted(gateway, 1, unsaved_s=0).ask(5.0, 100_000, RX2) == BUSY


def test_after_a_crash_all_transmitters_count_as_on_air_since_the_last_save() -> None:
    gateway = Gateway()
    assert gateway.ask(0.1, 1_000_000, RX1) is None
    again = restarted(gateway, 10, unsaved_s=2.0)
    assert fill(again, RX1) == 31  # less 2 s, and 2.8 s of what was asked last; what was planned lies within them
    stranger = again.schedule.refusal("bb" * 8, again.now + 1, 32_000_000, RX1, 125_000, again.now)
    assert stranger == DUTY_CYCLE  # of a gateway that had not sent before, nothing is known either


def test_however_often_it_crashes_a_transmitter_is_not_on_air_more_than_all_the_time() -> None:
    gateway = Gateway()
    assert gateway.ask(0.1, 1_000_000, RX1) is None
    for _ in range(10):
        gateway = restarted(gateway, 1.0, unsaved_s=2.0)
    assert fill(gateway, RX1) == 22  # less 9 s until the last save, and 4.8 s


def test_a_calendar_that_jumped_makes_no_hour_pass() -> None:
    gateway = Gateway()
    assert fill(gateway, RX1) == 36
    assert fill(restarted(gateway, 86_400, unsaved_s=0, reboot=True), RX1) == 0
    assert fill(restarted(gateway, 86_400, unsaved_s=0), RX1) == 36


@settings(max_examples=30, deadline=None)
@given(REQUESTS, REQUESTS, st.floats(0, 4000))
def test_no_hour_is_too_full_across_a_restart(before: list[tuple], after: list[tuple], passed: float) -> None:
    gateway = Gateway()
    for one in (before, after):
        for gone, ahead, (sf, size), freq_hz, times, _ in one:
            gateway.now += gone
            for turn in range(times):
                gateway.ask(ahead + turn * 2.9, airtime_us(sf, 125_000, size, crc=False), freq_hz)
        if one is before:
            booked = gateway.booked
            gateway = restarted(gateway, passed, unsaved_s=0)
            gateway.booked = booked
    gateway.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"now": 0, "unix": 0},
        {"now": 0, "unix": 0, "gateways": {"a": [[9, 0, 0]]}},
        {"now": "x", "unix": 0, "gateways": {}},
        {"now": 0, "unix": 0, "gateways": {"a": [1]}},
    ],
)
def test_a_ledger_that_is_none(wrong: dict) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Schedule().restore(wrong, 1.0, 1.0, 2.0)
