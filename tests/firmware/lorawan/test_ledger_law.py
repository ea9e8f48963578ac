"""The law in true time, whatever happens: any sequence of uses, pauses, resets, lost memory and power cuts at any step,
and any clock within 3 %. The judge is the list of what was on air.

FUNKSPATZ_LEDGER_EXAMPLES: how many worlds to try of each kind.
"""

from __future__ import annotations

import os

from airtime_world import NOTHING, JoinWorld, LedgerWorld, most, overlap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lorawan import eu868

EXAMPLES = int(os.environ.get("FUNKSPATZ_LEDGER_EXAMPLES", "150"))
patient = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

SLOT_S = 310
clocks = st.sampled_from([-30000, 0, 30000]) | st.integers(-30000, 30000)
airtimes_us = st.sampled_from([61696, 1482752, 2793472])
crashes = st.tuples(
    st.just(NOTHING) | st.integers(1, 3),
    st.integers(0, 7),
    st.sampled_from([0, 1_000_000, 600_000_000, 4_000_000_000]),
)
pauses_s = st.sampled_from([0, 1, 30, 300, SLOT_S, 900, 3300, 3600, 13 * SLOT_S])
ledger_steps = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 2, 2, 4, 0]),
        airtimes_us,
        st.integers(0, 13),  # frames in a row
        st.booleans(),  # then wait exactly as long as the ledger says, and send
        st.integers(0, 8000),  # ms that each begins late
        crashes,
        pauses_s,
        st.integers(-30000, 30000) | st.none(),  # the clock drifts
    ),
    max_size=25,
)
join_steps = st.lists(
    st.tuples(
        st.sampled_from([61696, 1482752]),
        st.integers(0, 30),
        st.booleans(),
        st.integers(0, 8000),
        crashes,
        st.sampled_from([0, 7, 600, 3000, 3400, 3700, 30_000, 40_000, 80_000]),
    ),
    max_size=25,
)


def wait(world: LedgerWorld | JoinWorld, band: int, airtime_us: int) -> None:
    wait_ms = world.wait_ms(band, airtime_us)
    if 0 < wait_ms < 100_000_000:
        world.sleep_us(wait_ms * 1000 * 1_000_000 // (1_000_000 + world.ppm) + 2)


@given(clocks, ledger_steps)
@patient
def test_no_sliding_hour_above_a_limit(ppm: int, steps: list) -> None:
    world = LedgerWorld(eu868, ppm)
    for band, airtime_us, count, exactly, late_ms, (crash, stage, off_us), pause_s, drift in steps:
        for _ in range(count):
            world.send(band, airtime_us, late_ms * 1000)
        if exactly:
            wait(world, band, airtime_us)
        world.send(band, airtime_us, late_ms * 1000, crash, stage, off_us)
        world.look_for_stale()
        world.sleep_us(pause_s * 1_000_000)
        if drift is not None:
            world.ppm = drift
    world.lawful()


@given(clocks, join_steps)
@patient
def test_joins_never_above_the_sum_of_the_phases(ppm: int, steps: list) -> None:
    world = JoinWorld(ppm)
    for airtime_us, count, exactly, late_ms, (crash, stage, off_us), pause_s in steps:
        for _ in range(count):
            world.send(0, airtime_us, late_ms * 1000 if world.sent else 0)
        if exactly:
            wait(world, 0, airtime_us)
        world.send(0, airtime_us, late_ms * 1000 if world.sent else 0, crash, stage, off_us)
        world.look_for_stale()
        world.sleep_us(pause_s * 1_000_000)
    world.lawful_in_sum()


@given(clocks, join_steps)
@patient
def test_joins_never_above_any_phase(ppm: int, steps: list) -> None:
    """A node that is never off keeps each phase for itself, and any 24 hours after the first eleven."""
    world = JoinWorld(ppm)
    for airtime_us, count, exactly, late_ms, _, pause_s in steps:
        if exactly:
            wait(world, 0, airtime_us)
        for _ in range(count + 1):
            world.send(0, airtime_us, late_ms * 1000 if world.sent else 0)
        world.sleep_us(pause_s * 1_000_000)
    world.lawful_in_phases()
    world.lawful_in_sum()


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12), st.integers(1, 60))
def test_the_judge(pairs: list, length: int) -> None:
    """The sliding window of the judge against every window there is."""
    frames = []
    now = 0
    for gap, size in pairs:
        frames.append((now + gap, now + gap + size))
        now += gap + size
    every = [overlap(frames, begin, begin + length) for begin in range(-length, now + 1)]
    assert most(frames, length) == max(every, default=0)
