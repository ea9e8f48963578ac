"""SIGKILL under load, a few times; `make bench` does it two hundred times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.benchmarks import crashes
from tests.benchmarks.broker import MOSQUITTO


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_nothing_that_was_acknowledged_is_lost_and_no_counter_used_twice(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10_000)
    print(f"seed {seed}")
    report = crashes.run(10, seed, tmp_path)
    assert report.kills == 10
    assert report.acknowledged > 100, "the load was no load"
    assert (report.lost, report.doubled, report.reused, report.unpublished) == ([], [], [], 0)
    assert report.downlinks > 5
