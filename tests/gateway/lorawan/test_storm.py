"""A small storm of joins with the firmware's own nodes; the large one is a benchmark (tests/benchmarks/storm.py)."""

from __future__ import annotations

import pytest
from benchmarks import storm

NODES = 40


@pytest.mark.parametrize("seed", [1, 2])
def test_a_street_whose_power_comes_back_has_joined_lawfully_within_a_quarter_of_an_hour(seed: int) -> None:
    result = storm.storm(NODES, seed)
    assert result.last_s <= storm.ASKED_S
    assert result.gateway_worst <= 1.0
    assert result.node_worst <= 1.0
    assert not result.refused  # the server knows what the gateway can do
    assert result.counts["join_accepted"] >= NODES


def test_a_server_that_answers_everybody_at_once_is_refused_by_its_gateway_and_takes_longer() -> None:
    naive = storm.storm(NODES, 1, admission=False)
    assert sum(naive.refused.values()) > 5
    assert naive.last_s > storm.storm(NODES, 1).last_s


def test_the_judge_sees_a_full_hour() -> None:
    def sent(start_s: float, s: float, freq_hz: int) -> storm.Transmission:
        return storm.Transmission("g", round(start_s * 1e6), round(s * 1e6), freq_hz, 7, 125_000, 14.0, b"")

    assert storm.fullest_hour([sent(0, 18, 868_100_000), sent(3590, 18, 868_500_000)]) == pytest.approx(28 / 36)
    assert storm.fullest_hour([sent(0, 18, 868_100_000), sent(1000, 19, 868_500_000)]) > 1
    assert storm.fullest_hour([sent(0, 18, 868_100_000), sent(1000, 18, 867_500_000)]) == pytest.approx(0.5)
