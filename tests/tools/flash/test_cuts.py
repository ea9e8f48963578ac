"""A few of the interruptions of `python -m tests.benchmarks "cuts flashing"`."""

from __future__ import annotations

from pathlib import Path

from tests.tools.flash.cutting import cut_boards

CUTS = 12
SEED = 7


def test_identity_key_and_devnonce_survive_every_cut(tmp_path: Path) -> None:
    tally = cut_boards(tmp_path, CUTS, SEED, threads=4, life=3)
    assert tally.findings == [], f"seed {SEED}"
    assert sum(tally.cuts.values()) == CUTS
    assert sum(tally.done.values()) == CUTS
