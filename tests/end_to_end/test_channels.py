"""One town through one channel after another: whatever the way to the nest does, each frame is archived, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from spatz.sim.simulation import Plan

from .channels import Channel, Faults, doubled, joins
from .towns import town_behind

LIMIT_S = 120.0
FRAMES = 12

MATRIX: dict[str, tuple[Faults, Faults]] = {
    "perfect": (Faults(), Faults()),
    "lossy": (Faults(loss=0.2), Faults(loss=0.2)),
    "late": (Faults(late=0.2, copied=1.0, copy_s=2.0), Faults(copied=0.5, copy_s=2.0)),
    "duplicated": (Faults(copied=1.0), Faults(copied=1.0)),
    "reordered": (Faults(overtaken=0.5), Faults(overtaken=0.5, overtaken_s=0.15)),
}


@pytest.mark.parametrize("name", MATRIX)
async def test_every_frame_that_was_heard_is_archived_once(tmp_path: Path, name: str) -> None:
    plan = Plan(nodes=3, gateways=1, interval_s=5, seed=21, spread_s=1.0)
    up, down = MATRIX[name]
    async with town_behind(tmp_path, plan, lambda server: Channel(server, up, down, seed=21)) as small:
        witness, channel = small.witness, small.channel
        names = set(small.simulation.reports)

        def enough() -> bool:
            return len(witness.heard) >= FRAMES and set(witness.heard.values()) == names

        await small.until(enough, f"{FRAMES} frames, some of each node")
        await small.end_of_the_day()
        assert witness.missing(small.folder) == {}, f"{name}: {channel.counts}"
        assert doubled(small.folder) == 0
        assert witness.foreign(small.folder) == 0
        answered = joins(small.folder)
        assert set(answered) == names
        for node, nonces in answered.items():
            assert set(nonces) <= witness.asked[node]
            assert len(nonces) == len(set(nonces))
        done = {kind.split("_")[1] for kind, count in channel.counts.items() if count}
        assert done >= {"lossy": {"lost"}, "late": {"late", "copied"}, "duplicated": {"copied"},
                        "reordered": {"overtaken"}}.get(name, set())  # fmt: skip
