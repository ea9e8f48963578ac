"""What the nest asks a node for, and when: rule by rule, and thirty days over a channel that loses much."""

from __future__ import annotations

import dataclasses

import pytest
from benchmarks import backfill as world
from hypothesis import given
from hypothesis import strategies as st
from nest import backfill, orders
from nest.backfill import DAY_S, HOUR_S, Gap, Situation
from nest.orders import Range

NOW = 40 * DAY_S
NOT_LONG = 10


def gap(fcnt: int, *, session: int = 1, part: int = 0, newest: int = 1000, **more: float) -> Gap:
    """A reading of every 15 minutes, missed when the frame behind it came."""
    time = more.get("time", NOW - (newest - fcnt) * 900.0)
    values = {"time": time, "opened_at": time + 900, **more}
    return Gap(session, fcnt, part, **values)  # pyright: ignore[reportArgumentType]


def situation(**more: object) -> Situation:
    return dataclasses.replace(Situation(NOW, 1, 1000, 900.0), **more)  # pyright: ignore[reportArgumentType]


def asked(gaps: list[Gap], **more: object) -> list[int]:
    return [one.fcnt for one in backfill.plan(gaps, situation(**more)).asked]


def test_what_parity_may_still_heal_is_waited_for() -> None:
    assert asked([gap(950), gap(990)]) == []
    assert asked([gap(863), gap(990)]) == [863]


def test_what_parity_cannot_heal_is_asked_for() -> None:
    assert asked([gap(990, session=0)]) == [990], "its session has ended"
    assert asked([gap(990, part=1)]) == [990], "no frame ever carried it"
    assert asked([gap(940, time=NOW - 25 * HOUR_S)]) == [940], "it stands for a day"
    assert asked([gap(999, time=NOW - 73 * HOUR_S)]) == [999], "a node that sends every few hours"


def test_after_a_long_outage_all_of_it_is_asked_for_at_once() -> None:
    silent = [gap(fcnt, opened_at=NOW - HOUR_S) for fcnt in range(900, 996)]
    plan = backfill.plan(silent, situation(loss=0.3))
    assert plan.ranges == (Range(1, 900, 96),)
    assert plan.asked == tuple(silent)
    assert asked(silent[-NOT_LONG:], loss=0.3) == [], "parity heals so few"


def test_a_gateway_that_comes_back_is_given_time_to_bring_what_it_held_back() -> None:
    silent = [gap(fcnt, opened_at=NOW - 1700) for fcnt in range(900, 996)]
    assert asked(silent) == []


def test_a_few_gaps_wait_for_others_and_many_do_not() -> None:
    few = [gap(100 + 50 * index) for index in range(backfill.FEW - 1)]
    assert asked(few, requested_at=NOW - 11 * HOUR_S) == []
    assert asked(few, requested_at=NOW - 12 * HOUR_S)
    assert asked([*few, gap(800)], requested_at=NOW - 2 * HOUR_S)


def test_nothing_is_asked_for_while_a_request_waits_or_was_just_made() -> None:
    many = [gap(fcnt) for fcnt in range(100, 300)]
    assert asked(many, waiting=True) == []
    assert asked(many, requested_at=NOW - 3500) == []
    assert asked(many, requested_at=NOW - 3600)
    assert asked(many, requested_at=NOW - 3 * HOUR_S, interval_s=3600.0) == [], "a slow node needs longer"


@pytest.mark.parametrize(("times", "hours"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 48), (12, 48)])
def test_what_did_not_come_is_asked_for_again_after_twice_the_time(times: int, hours: int) -> None:
    again = [gap(100, asked=times, asked_at=NOW - hours * HOUR_S)]
    assert asked(again, requested_at=NOW - hours * HOUR_S) == [100]
    early = [gap(100, asked=times, asked_at=NOW - hours * HOUR_S + 60)]
    assert asked(early, requested_at=NOW - hours * HOUR_S) == []


def test_a_node_that_is_sending_is_not_asked_again() -> None:
    again = [gap(100, asked=1, asked_at=NOW - 5 * HOUR_S)]
    assert asked(again, requested_at=NOW - 5 * HOUR_S, arrived_at=NOW - 900) == []
    assert asked(again, requested_at=NOW - 5 * HOUR_S, arrived_at=NOW - 2 * HOUR_S) == [100]


def test_a_new_request_holds_what_an_earlier_one_asked_for() -> None:
    """The node forgets the earlier one."""
    fresh = [gap(fcnt) for fcnt in range(200, 230)]
    again = [gap(100, asked=1, asked_at=NOW - 1.5 * HOUR_S)]
    assert asked([*fresh, *again], requested_at=NOW - 1.5 * HOUR_S) == [100, *range(200, 230)]


def test_what_the_log_cannot_have_any_more_is_given_up() -> None:
    old, young = gap(100, time=NOW - 30 * DAY_S - 1), gap(101, time=NOW - 30 * DAY_S)
    plan = backfill.plan([old, young], situation(own=[NOW] * 20))
    assert plan.lost == (old,)
    assert backfill.plan([old, young], situation()).asked == (young,)


@pytest.mark.parametrize(
    ("own", "all_of_them", "may"),
    [
        ([NOW - HOUR_S] * 5, [], True),
        ([NOW - HOUR_S] * 6, [], False),
        ([NOW - 25 * HOUR_S] * 11, [], True),
        ([NOW - 25 * HOUR_S] * 12, [], False),
        ([NOW - 8 * DAY_S] * 50, [NOW - 25 * HOUR_S] * 50, True),
        ([], [NOW - HOUR_S] * 9, True),
        ([], [NOW - HOUR_S] * 10, False),
    ],
)
def test_the_limits_of_downlinks_hold(own: list[float], all_of_them: list[float], may: bool) -> None:
    at = situation(own=own, downlinks=[*own, *all_of_them], loss=0.5)
    plan = backfill.plan([gap(fcnt) for fcnt in range(100, 300)], at)
    assert bool(plan.ranges) is may
    assert (plan.parity == 2) is may


GAPS = st.lists(
    st.builds(
        Gap,
        st.sampled_from([1, 255, 256, 257]),
        st.integers(0, 200_000),
        st.integers(0, 2),
        st.just(NOW - DAY_S),
        st.just(NOW - DAY_S),
    ),
    max_size=60,
    unique_by=lambda one: (one.session, one.fcnt, one.part),
)


@given(GAPS)
def test_every_request_fits_into_a_downlink_and_holds_what_it_says(gaps: list[Gap]) -> None:
    plan = backfill.plan(gaps, situation(session=300, newest=300_000))
    assert bool(plan.asked) is bool(gaps)
    everything = [orders.Interval(5), orders.Parity(2), orders.Confirmed(True), orders.Restart()]
    read = orders.decode(orders.encode(1, [*everything, orders.Log(plan.ranges)]))
    slots = {
        (one.session, fcnt)
        for command in read.commands
        if isinstance(command, orders.Log)
        for one in command.ranges
        for fcnt in range(one.first, one.first + one.count)
    }
    assert all(fcnt < 65536 for _, fcnt in slots), "no range wraps"
    assert {(one.session & 0xFF, one.fcnt & 0xFFFF) for one in plan.asked} <= slots
    if len(plan.ranges) < orders.MOST_RANGES:
        assert len(plan.asked) == len(gaps)


def test_gaps_that_lie_near_become_one_range() -> None:
    gaps = [gap(fcnt) for fcnt in (10, 11, 14, 18)]
    assert backfill.ranges_of(gaps) == (Range(1, 10, 5), Range(1, 18, 1))


def test_where_there_would_be_too_many_ranges_the_nearest_are_put_together() -> None:
    spread = [gap(fcnt) for fcnt in (*range(0, 400, 40), 405)]  # 0, 40 … 360, and 405
    close = [gap(370)]
    ranges = backfill.ranges_of(sorted([*spread, *close], key=lambda one: one.fcnt))
    assert len(ranges) == orders.MOST_RANGES
    assert Range(1, 360, 11) in ranges


def test_a_second_symbol_is_asked_for_while_much_is_lost() -> None:
    assert backfill.wanted_parity(situation(loss=0.36)) == 2
    assert backfill.wanted_parity(situation(loss=0.35)) is None
    assert backfill.wanted_parity(situation(loss=0.36, parity=2)) is None
    assert backfill.wanted_parity(situation(loss=0.1, steady=0.19, parity=2)) == 1
    assert backfill.wanted_parity(situation(loss=0.1, steady=0.2, parity=2)) is None
    assert backfill.wanted_parity(situation(loss=0.1, steady=None, parity=2)) is None
    assert backfill.wanted_parity(situation(loss=0.9, parity=None)) is None, "people have chosen"


def test_an_outage_is_no_loss_that_a_symbol_would_mend() -> None:
    every_other = [*range(0, 100, 2)]
    assert backfill.loss(every_other, 98, 0) == pytest.approx(49 / 99)
    assert backfill.loss([*range(50), *range(146, 200)], 199, 0) == 0
    assert backfill.loss([*range(49)], 48, 0) is None


@pytest.mark.parametrize(("seed", "exact"), [(1, False), (2, False), (3, False), (4, True)])
def test_thirty_days_end_with_every_reading_and_few_downlinks(seed: int, exact: bool) -> None:
    """30 % lost both ways and a gateway that is silent for a day; figures: tests/benchmarks/backfill.py."""
    done = world.run(seed, exact=exact)
    assert done.slots == 2880
    assert done.missing == 0
    assert done.average <= 2
    assert done.most <= 10
    assert done.first_request >= 90, "the first request after the outage asks for all of it"


def test_a_node_that_nobody_reaches_is_not_asked_without_end() -> None:
    done = world.run(7, days=15, down_loss=1.0)
    assert done.missing > 0
    assert done.average <= 2
    assert done.most <= backfill.OWN_A_DAY
