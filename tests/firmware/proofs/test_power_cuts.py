"""Power cuts at any moment: no counter twice, no identity lost, every restart sends again, few flash writes.

The seed is printed when a test fails; PROOF_SEED sets it, PROOF_CUTS the number of cuts of each test. Ten thousand cuts
are in `make bench` (tests/benchmarks/power_cuts.py).
"""

from __future__ import annotations

import os

import proof_drive
import pytest

SEED = int(os.environ.get("PROOF_SEED", "1"))
CUTS = int(os.environ.get("PROOF_CUTS", "1500"))
WITHIN_US = 75 * 60 * 1_000_000  # an hour's airtime may count as sent after a cut; ledger and clocks add to it
NODES = 75
WEEKS = 4


def told(judge) -> str:
    return f"PROOF_SEED={SEED}\n" + "\n".join(judge.findings[:10])


@pytest.mark.parametrize(("rots", "harsh"), [(0, False), (10, False), (10, True)], ids=["sound", "rot", "rot_upon_rot"])
def test_no_cut_brings_a_counter_back(rots: int, harsh: bool) -> None:
    judge = proof_drive.cuts(CUTS, SEED, rots, harsh, WITHIN_US)
    assert not judge.findings, told(judge)
    # and the rig has done what it should
    assert judge.cuts >= CUTS
    assert min(judge.cuts_by_kind) > CUTS // 10
    assert judge.cut_writes > CUTS // 10
    assert judge.cut_frames > CUTS // 100
    assert judge.restarts_that_sent > CUTS // 4
    assert judge.nonces  # how DevNonces fare is in the next test: a node that has a session seldom joins
    assert (judge.rots > 0) == (rots > 0)


def test_no_cut_brings_a_dev_nonce_back() -> None:
    """Nodes that are cut off again and again while they try to join, and join when they are let."""
    judges = proof_drive.joins(1, NODES, CUTS // NODES, SEED)
    assert not [finding for judge in judges for finding in judge.findings], "\n".join(map(told, judges))
    assert sum(judge.cuts for judge in judges) >= CUTS
    assert sum(len(judge.nonces) for judge in judges) > CUTS // 2
    assert all(judge.session for judge in judges)


def test_a_day_of_96_uplinks_costs_at_most_four_flash_writes() -> None:
    judge = proof_drive.quiet(7 * WEEKS, SEED, "normal")
    assert not judge.findings, told(judge)
    assert judge.frames > 90 * 7 * WEEKS
    assert judge.writes <= 4 * 7 * WEEKS, f"PROOF_SEED={SEED}: {judge.writes} writes"
