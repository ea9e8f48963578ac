"""A node's whole week, loss and power cuts included: what the archive has, reading by reading beside the weather."""

from __future__ import annotations

import random
from pathlib import Path

from .compared import compare
from .whole_town import DAY_S, Accident, Plan, Town

DAYS = 7
SETTLED_S = (DAYS - 2) * DAY_S
"""What was lost before this has had the time to heal, or to be asked for."""


def accidents(seed: int) -> dict[int, Accident]:
    """More than one a day, at each moment at which it hurts; a power cut is seconds to hours long."""
    dice = random.Random(seed)  # noqa: S311  to be repeated
    wakes = dice.sample(range(5, 96 * (DAYS - 1)), 9)
    kinds = [(what, when) for what in ("power cut", "reset") for when in ("tx", "rx", "write")]
    found = {}
    for number, wake in enumerate(wakes):
        what, when = kinds[number % len(kinds)]
        found[wake] = Accident(what, when, dice.choice((2, 60, 5000)) if what == "power cut" else 0.3)
    return found


def test_every_reading_of_a_week_is_what_the_weather_was_or_a_known_gap(tmp_path: Path) -> None:
    town = Town(tmp_path, Plan(seed=7, days=DAYS, accidents=accidents(7)))
    town.run()
    result = compare(town)
    print(result.told())
    print(f"{result.cut_off} cut off while they were written; downlinks: {town.told_downlinks()}")
    assert result.made > 600
    assert 1 <= result.cut_off <= 3
    assert not result.invented, "rows that are no reading of this node, or one of them twice"
    assert not result.unknown, "readings that are missing, and nobody knows it"
    assert town.counters["healing_wrong"] == town.counters["broken"] == town.counters["undecodable"] == 0
    assert result.came["recovered"] > 50
    assert result.came["backfilled"] > 0
    settled = compare(town, SETTLED_S)
    assert settled.share("missing") < 1, "a power cut makes the window of parity begin anew, and requests are few"
    assert max(result.errors_s["heard"]) < 1
    assert max(result.errors_s["backfilled"]) < 1.5, "an hour at 400 ppm: until the rate of a node's clock is known"
