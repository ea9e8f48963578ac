"""The just-in-time queue: what is refused, why, and where the 32-bit counter wraps."""

from __future__ import annotations

import pytest
from spatz.sim.jit import COLLISION_PACKET, TOO_EARLY, TOO_LATE, JitQueue, unwrap

NOW = 5_000_000_000  # more than 2^32: the full clock never wraps


@pytest.mark.parametrize(
    ("ahead_us", "answer"),
    [
        (1_000_000, None),
        (42_501, None),
        (42_500, TOO_LATE),  # 40 ms to program the radio + 1.5 ms to start + 1 ms margin
        (0, TOO_LATE),
        (-1, TOO_LATE),  # the reference forwarder says TOO_EARLY here, for want of a sign
        (-5_000_000, TOO_LATE),
        (512_000_000, None),
        (512_000_001, TOO_EARLY),
    ],
)
def test_in_time(ahead_us: int, answer: str | None) -> None:
    assert JitQueue().add(NOW + ahead_us, 50_000, NOW) == answer


@pytest.mark.parametrize(
    ("start_us", "answer"),
    [
        (1_000_000, COLLISION_PACKET),  # the same moment
        (1_052_500, COLLISION_PACKET),  # 2.5 ms after the end of the first
        (1_052_501, None),
        (947_500, COLLISION_PACKET),  # ends 2.5 ms before the first starts
        (947_499, None),
    ],
)
def test_two_transmissions_need_2_5_ms_between_them(start_us: int, answer: str | None) -> None:
    queue = JitQueue()
    assert queue.add(NOW + 1_000_000, 50_000, NOW) is None
    assert queue.add(NOW + start_us, 50_000, NOW) == answer


def test_a_transmission_on_the_air_still_blocks_and_a_finished_one_no_more() -> None:
    queue = JitQueue()
    queue.add(NOW + 100_000, 500_000, NOW)
    later = NOW + 200_000
    assert queue.add(later + 60_000, 50_000, later) == COLLISION_PACKET
    after = NOW + 600_000
    assert queue.add(after + 60_000, 50_000, after) is None


def test_the_queue_holds_32() -> None:
    queue = JitQueue()
    for number in range(32):
        assert queue.add(NOW + (number + 1) * 100_000, 50_000, NOW) is None
    assert queue.add(NOW + 10_000_000, 50_000, NOW) == COLLISION_PACKET
    later = NOW + 160_000  # the first has left
    assert queue.add(NOW + 10_000_000, 50_000, later) is None


def test_immediate_goes_out_as_soon_as_the_antenna_is_free() -> None:
    queue = JitQueue()
    assert queue.add_soon(50_000, NOW) == (NOW + 80_000, None)
    assert queue.add_soon(50_000, NOW) == (NOW + 80_000 + 50_000 + 2_501, None)
    queue.add(NOW + 300_000, 50_000, NOW)
    # 285 - 132.5 ms is too small a gap for 150 ms: after the last one
    assert queue.add_soon(150_000, NOW) == (NOW + 352_501, None)


@pytest.mark.parametrize(
    ("now", "tmst", "full"),
    [
        (1000, 2000, 2000),
        ((1 << 32) - 10, 990_000, (1 << 32) + 990_000),  # the counter wraps before RX1
        ((1 << 32) + 10, (1 << 32) - 5, (1 << 32) - 5),  # it wrapped a moment ago: the past
        ((7 << 32) + 500, 1_000_500, (7 << 32) + 1_000_500),
        (0, (1 << 32) - 1, -1),
    ],
)
def test_unwrap_takes_the_nearest_time(now: int, tmst: int, full: int) -> None:
    assert unwrap(tmst, now) == full


def test_rx2_of_a_join_across_the_wrap_is_accepted() -> None:
    now = (3 << 32) - 2_000_000
    tmst = (now + 6_000_000) & 0xFFFFFFFF
    assert tmst < 5_000_000
    assert JitQueue().add(unwrap(tmst, now), 70_000, now) is None
